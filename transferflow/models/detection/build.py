"""From the `head` and `backbone` sections to a detector."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import WeightsEnum

from transferflow.models.backbones.build import build_backbone
from transferflow.models.dense import DenseModel, apply_levels_only, resnet_groups
from transferflow.models.detection.generic import DetectorSettings, build_generic_detector
from transferflow.models.detection.inputs import PreparedInput, apply_float32_outputs
from transferflow.models.detection.layer_groups import detector_groups
from transferflow.models.detection.resnet50 import (
    apply_new_classes,
    build_resnet50_detector,
)
from transferflow.models.layers import LayerGroup, Preprocessing
from transferflow.models.torchvision_start import apply_resnet_start, decide_start, load_whole, whole_weights
from transferflow.spec.sections.backbone import Backbone as BackboneSection
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
    image_size: int | Size | None,
    pretrained: bool,
    seed: int,
    device: str = "cpu",
) -> DenseModel:
    """Build a detector: torchvision's own on its ResNet-50, or its heads on any other backbone.

    In train mode it maps images and targets to named losses, else images to boxes, labels and scores, all in
    pixels of the batch image; images come normalised and of one size.

    Args:
        head: The head section.
        backbone: The backbone section; ResNet-50 of torchvision with COCO_V1 (or DEFAULT) starts from
            weights of the whole detector.
        num_classes: Classes of the data set, without a background.
        channels: Input channels.
        image_size: Of the input in pixels: a side, or height and width.
        pretrained: Whether to load weights.
        seed: Of the layers that are new.
        device: `meta` for shapes alone.

    Raises:
        WeightsError: If the weights are not to be had.
        PlanError: If the backbone can't be a detector's.
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
        if whole is not None:
            model, groups, preprocessing = _on_resnet50(settings, backbone, whole, channels, pretrained)
        else:
            body = build_backbone(
                backbone, channels=channels, image_size=image_size, pretrained=pretrained, device=device
            )
            apply_levels_only(body, channels)
            model = build_generic_detector(body, settings)
            groups = tuple(group.prefixed("backbone.body") for group in body.groups)
            preprocessing = body.preprocessing
    model.transform = PreparedInput()
    for name, module in model.named_modules():
        if name in FLOAT32_MODULES:
            apply_float32_outputs(module)
    return DenseModel(model, detector_groups(model, groups), preprocessing)


def _on_resnet50(
    settings: DetectorSettings,
    backbone: BackboneSection,
    whole: WeightsEnum,
    channels: int,
    pretrained: bool,
) -> tuple[nn.Module, tuple[LayerGroup, ...], Preprocessing]:
    start = decide_start(backbone, whole)
    model = build_resnet50_detector(settings, fixed_batch_norm=start != "random")
    if start == "whole" and pretrained:
        load_whole(model, whole)
    apply_new_classes(model, settings)
    body = model.get_submodule("backbone.body")
    preprocessing = apply_resnet_start(
        body, backbone, start, channels=channels, side=COCO_SIZE, pretrained=pretrained
    )
    return model, resnet_groups(body, "backbone.body"), preprocessing
