"""From the `head` and `backbone` sections to a detector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torchvision.models import WeightsEnum

from transferflow.models.dense import DenseModel, build_levels, resnet_groups
from transferflow.models.detection.generic import DetectorSettings, build_generic_detector
from transferflow.models.detection.inputs import PreparedInput, apply_float32_outputs
from transferflow.models.detection.layer_groups import detector_groups
from transferflow.models.detection.resnet50 import (
    apply_new_classes,
    build_resnet50_detector,
)
from transferflow.models.layers import Preprocessing
from transferflow.models.torchvision_start import (
    apply_resnet_start,
    decide_start,
    find_labels,
    load_whole,
    whole_weights,
)
from transferflow.spec.sections.backbone import Backbone as BackboneSection
from transferflow.spec.sections.data import KeptShape
from transferflow.spec.sections.head import DetectionHead
from transferflow.spec.sections.size import Size

COCO_SIZE = 800
"""Short side that torchvision's detectors were trained at."""
FLOAT32_MODULES = ("rpn.head", "roi_heads.box_predictor", "head")


def build_detector(
    head: DetectionHead,
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
    """Build a detector: torchvision's own on its ResNet-50, or its heads on any other backbone.

    In train mode it maps images and targets to named losses, else images to boxes, labels and scores, all in
    pixels of the image as it is given; images come normalised, and may differ in size.

    Args:
        head: The head section.
        backbone: The backbone section; ResNet-50 of torchvision with COCO_V1 (or DEFAULT) starts from
            weights of the whole detector.
        num_classes: Classes of the data set, without a background.
        channels: Input channels.
        image_size: Of the input in pixels: a side, or height and width; or any, if images keep their shape.
        pretrained: Whether to load weights.
        seed: Of the layers that are new.
        device: `meta` for shapes alone.
        known: Classes that a published detector is asked for, in their order: it keeps its last layer, and
            what it finds of other classes is left out; left out: the last layer is new.

    Raises:
        WeightsError: If the weights are not to be had.
        PlanError: If the backbone can't be a detector's, or a class is not `known` to the published one.
    """
    settings = DetectorSettings(
        head.kind,
        num_classes,
        head.score_threshold,
        head.nms_threshold,
        head.detections_per_image,
        head.pyramid_channels,
    )
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        whole = whole_weights(head, backbone)
        labels = None if whole is None or known is None else find_labels(whole, known)
        if whole is not None:
            model, preprocessing = _published(
                head, backbone, whole, settings, channels, pretrained, keeps_head=known is not None
            )
            groups = resnet_groups(model.get_submodule("backbone.body"), "backbone.body")
        else:
            body = build_levels(backbone, channels, image_size, pretrained=pretrained, device=device)
            model = build_generic_detector(body, settings)
            groups = tuple(group.prefixed("backbone.body") for group in body.groups)
            preprocessing = body.preprocessing
    model.transform = PreparedInput(labels=labels, first=int(head.kind == "faster_rcnn"))
    for name, module in model.named_modules():
        if name in FLOAT32_MODULES:
            apply_float32_outputs(module)
    return DenseModel(model, detector_groups(model, groups), preprocessing)


def _published(
    head: DetectionHead,
    backbone: BackboneSection,
    whole: WeightsEnum,
    settings: DetectorSettings,
    channels: int,
    pretrained: bool,
    *,
    keeps_head: bool,
) -> tuple[nn.Module, Preprocessing]:
    start = decide_start(head, backbone)
    model = build_resnet50_detector(settings, fixed_batch_norm=start != "random")
    if start == "whole" and pretrained:
        load_whole(model, backbone, whole)
    if not keeps_head:
        apply_new_classes(model, settings)
    body = model.get_submodule("backbone.body")
    preprocessing = apply_resnet_start(
        body, backbone, start, channels=channels, side=COCO_SIZE, pretrained=pretrained
    )
    return model, preprocessing
