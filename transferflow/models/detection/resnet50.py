"""Torchvision's own detectors on ResNet-50, with the box predictor replaced for our classes."""

from __future__ import annotations

import math
from typing import assert_never

from torch import nn
from torchvision.models.detection import (
    FCOS,
    FasterRCNN,
    RetinaNet,
    fasterrcnn_resnet50_fpn_v2,
    fcos_resnet50_fpn,
    retinanet_resnet50_fpn_v2,
)
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d

from transferflow.models.detection.generic import DetectorSettings

COCO_LABELS = 91
PRIOR_PROBABILITY = 0.01


def build_resnet50_detector(settings: DetectorSettings, fixed_batch_norm: bool) -> nn.Module:
    """Build torchvision's model as it was trained on COCO, with random weights and COCO's classes.

    Args:
        settings: Thresholds; the number of classes is set by `apply_new_classes`.
        fixed_batch_norm: Whether FCOS's backbone has frozen batch norm, as torchvision gives it to trained
            weights; the other two train theirs.
    """
    match settings.kind:
        case "faster_rcnn":
            model = fasterrcnn_resnet50_fpn_v2(
                weights=None,
                weights_backbone=None,
                num_classes=COCO_LABELS,
                box_score_thresh=settings.score_threshold,
                box_nms_thresh=settings.nms_threshold,
                box_detections_per_img=settings.detections_per_image,
            )
        case "retinanet" | "fcos":
            build = retinanet_resnet50_fpn_v2 if settings.kind == "retinanet" else fcos_resnet50_fpn
            model = build(
                weights=None,
                weights_backbone=None,
                num_classes=COCO_LABELS,
                score_thresh=settings.score_threshold,
                nms_thresh=settings.nms_threshold,
                detections_per_img=settings.detections_per_image,
            )
            if settings.kind == "fcos" and fixed_batch_norm:
                _freeze_batch_norm(model.backbone.body)
        case _:
            assert_never(settings.kind)
    found: nn.Module = model
    return found


def _freeze_batch_norm(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            frozen: nn.Module = FrozenBatchNorm2d(child.num_features, eps=child.eps)
            frozen.load_state_dict(child.state_dict())
            module.add_module(name, frozen)
        else:
            _freeze_batch_norm(child)


def apply_new_classes(model: nn.Module, settings: DetectorSettings) -> None:
    """Replace the layer that names the classes; everything before it keeps its weights."""
    if isinstance(model, FasterRCNN):
        width = model.roi_heads.box_predictor.cls_score.in_features
        model.roi_heads.box_predictor = FastRCNNPredictor(width, settings.num_classes + 1)
    elif isinstance(model, RetinaNet | FCOS):
        head = model.head.classification_head
        head.cls_logits = _rare_object_logits(
            head.cls_logits.in_channels, head.cls_logits.out_channels // COCO_LABELS * settings.num_classes
        )
        head.num_classes = settings.num_classes


def _rare_object_logits(channels: int, outputs: int) -> nn.Conv2d:
    logits = nn.Conv2d(channels, outputs, kernel_size=3, padding=1)
    nn.init.normal_(logits.weight, std=0.01)
    # Objects are rare from the start (arXiv:1708.02002, section 4.1): else background drowns the first steps.
    if logits.bias is not None:
        nn.init.constant_(logits.bias, -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY))
    return logits
