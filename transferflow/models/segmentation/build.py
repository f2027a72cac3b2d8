"""From the `head` and `backbone` sections to a segmenter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torchvision.models import WeightsEnum, resnet50
from torchvision.models._utils import IntermediateLayerGetter

from transferflow.models.dense import DenseModel, build_group, build_levels, resnet_groups
from transferflow.models.layers import Backbone, LayerGroup, Preprocessing
from transferflow.models.neck import decide_level_sources
from transferflow.models.segmentation.dilation import apply_output_stride
from transferflow.models.segmentation.heads import (
    apply_dropout,
    apply_fixed_pooling_statistics,
    apply_known_classes,
    apply_new_classes,
    build_deeplab_head,
    build_fcn_head,
)
from transferflow.models.segmentation.lite import LiteHead
from transferflow.models.segmentation.segmenter import LevelPick, LiteBody, Segmenter
from transferflow.models.torchvision_start import (
    apply_resnet_start,
    decide_start,
    find_labels,
    load_whole,
    whole_weights,
)
from transferflow.spec.sections.backbone import Backbone as BackboneSection
from transferflow.spec.sections.data import KeptShape
from transferflow.spec.sections.head import SegmentationHead
from transferflow.spec.sections.size import Size

COCO_LABELS = 21
COCO_SIZE = 520
"""Short side that torchvision's segmenters were trained at."""
LITE_WIDTH = 64
LITE_STRIDE, DENSE_STRIDE = 4, 8
LITE_DROPOUT = 0.1
LAYER3, LAYER4 = 1024, 2048
"""Channels of the last two stages of ResNet-50."""


def build_segmenter(
    head: SegmentationHead,
    backbone: BackboneSection,
    *,
    num_classes: int,
    channels: int,
    image_size: int | Size | KeptShape | None,
    pretrained: bool,
    seed: int,
    device: str = "cpu",
    known: Sequence[str] | None = None,
) -> DenseModel:
    """Build a segmenter: torchvision's own on its ResNet-50, or a head on any other backbone.

    It maps images (B x C x H x W) to logits `out` (B x classes x H x W), in training also `aux`.

    Args:
        head: The head section.
        backbone: The backbone section; ResNet-50 of torchvision with COCO_WITH_VOC_LABELS_V1 (or DEFAULT)
            starts from weights of the whole segmenter.
        num_classes: Classes.
        channels: Input channels.
        image_size: Of the input in pixels: a side, or height and width; or any, if images keep their shape.
        pretrained: Whether to load weights.
        seed: Of the layers that are new.
        device: `meta` for shapes alone.
        known: Classes that a published segmenter keeps the last layer's rows of, in their order; left out:
            the last layer is new.

    Raises:
        WeightsError: If the weights are not to be had.
        PlanError: If the backbone has no fitting feature maps, or a class is not `known` to the
            published one.
    """
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        whole = whole_weights(head, backbone)
        if whole is not None:
            model, preprocessing = _published(head, backbone, whole, channels, pretrained)
            groups = resnet_groups(model.get_submodule("backbone"), "backbone")
            rows = None if known is None else find_labels(whole, known)
            return _finish(head, model, groups, preprocessing, num_classes, rows)
        body = build_levels(backbone, channels, image_size, pretrained=pretrained, device=device)
        if head.kind == "lite":
            return _lite(head, body, num_classes)
        return _on_backbone(head, body, backbone.name, num_classes, channels)


def _published(
    head: SegmentationHead,
    backbone: BackboneSection,
    whole: WeightsEnum,
    channels: int,
    pretrained: bool,
) -> tuple[Segmenter, Preprocessing]:
    stride = head.output_stride or DENSE_STRIDE
    body = IntermediateLayerGetter(
        resnet50(weights=None, replace_stride_with_dilation=[False, stride == DENSE_STRIDE, True]),
        {"layer4": "out", "layer3": "aux"},
    )
    auxiliary = build_fcn_head(LAYER3, COCO_LABELS)
    model = Segmenter(body, _classifier(head, LAYER4, COCO_LABELS, stride), auxiliary)
    start = decide_start(head, backbone)
    if start == "whole" and pretrained:
        load_whole(model, backbone, whole)
    preprocessing = apply_resnet_start(
        body, backbone, start, channels=channels, side=COCO_SIZE, pretrained=pretrained
    )
    return model, preprocessing


def _on_backbone(
    head: SegmentationHead, body: Backbone, name: str, num_classes: int, channels: int
) -> DenseModel:
    stride = head.output_stride or DENSE_STRIDE
    apply_output_stride(body, stride, channels, name)
    out, aux = len(body.levels) - 1, max(len(body.levels) - 2, 0)
    model = Segmenter(
        LevelPick(body, out, aux),
        _classifier(head, body.levels[out].channels, COCO_LABELS, stride),
        build_fcn_head(body.levels[aux].channels, COCO_LABELS),
    )
    groups = tuple(group.prefixed("backbone.body") for group in body.groups)
    return _finish(head, model, groups, body.preprocessing, num_classes)


def _classifier(head: SegmentationHead, channels: int, num_classes: int, stride: int) -> nn.Sequential:
    if head.kind == "deeplabv3":
        return build_deeplab_head(channels, num_classes, stride)
    return build_fcn_head(channels, num_classes)


def _finish(
    head: SegmentationHead,
    model: Segmenter,
    backbone: tuple[LayerGroup, ...],
    preprocessing: Preprocessing,
    num_classes: int,
    rows: Sequence[int] | None = None,
) -> DenseModel:
    """Give the model its classes and its groups; with `rows`, classes are those rows of its last layers."""
    classifier, auxiliary = model.classifier, model.aux_classifier
    if not isinstance(classifier, nn.Sequential) or not isinstance(auxiliary, nn.Sequential):
        raise TypeError(f"{type(classifier)}, {type(auxiliary)}")
    if head.kind == "deeplabv3":
        apply_fixed_pooling_statistics(classifier)
    if head.dropout is not None:
        apply_dropout(classifier, head.dropout)
    for part in (classifier, auxiliary):
        if rows is None:
            apply_new_classes(part, num_classes)
        else:
            apply_known_classes(part, rows)
    last = len(classifier) - 1
    decoder = build_group(model, "decoder", "neck", tuple(f"classifier.{i}" for i in range(last)))
    groups = [*backbone, decoder]
    if head.auxiliary:
        groups.append(build_group(model, "aux", "head", ("aux_classifier",)))
    else:
        model.aux_classifier = None
    groups.append(build_group(model, "head", "head", (f"classifier.{last}",)))
    return DenseModel(model, tuple(groups), preprocessing)


def _lite(head: SegmentationHead, body: Backbone, num_classes: int) -> DenseModel:
    wanted = [stride for stride in (4, 8, 16, 32) if stride >= (head.output_stride or LITE_STRIDE)]
    sources = decide_level_sources(body.levels, wanted)
    dropout = LITE_DROPOUT if head.dropout is None else head.dropout
    aux = max(len(body.levels) - 2, 0)
    model = Segmenter(
        LiteBody(body, sources, aux, LITE_WIDTH),
        LiteHead(LITE_WIDTH, num_classes, dropout),
        build_fcn_head(body.levels[aux].channels, num_classes) if head.auxiliary else None,
    )
    groups = [group.prefixed("backbone.body") for group in body.groups]
    groups.append(build_group(model, "decoder", "neck", ("backbone.decoder",)))
    if head.auxiliary:
        groups.append(build_group(model, "aux", "head", ("aux_classifier",)))
    groups.append(build_group(model, "head", "head", ("classifier",)))
    return DenseModel(model, tuple(groups), body.preprocessing)
