"""Torchvision's detection heads on any backbone of the project, under a feature pyramid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import assert_never

from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from transferflow.models.layers import Backbone
from transferflow.models.neck import PyramidNeck
from transferflow.spec.sections.head import DetectorKind

TWO_STAGE_STRIDES = (4, 8, 16, 32)
ONE_STAGE_STRIDES = (8, 16, 32)
NORM_GROUPS = 32


@dataclass(frozen=True)
class DetectorSettings:
    """What a detector's head needs to know.

    Attributes:
        kind: Which detector.
        num_classes: Classes of the data set, without a background.
        score_threshold: Boxes below this score are dropped.
        nms_threshold: Overlap (IoU) above which the weaker of two boxes of a class is dropped.
        detections_per_image: Most boxes kept per image.
        pyramid_channels: Width of the feature pyramid.
    """

    kind: DetectorKind
    num_classes: int
    score_threshold: float
    nms_threshold: float
    detections_per_image: int
    pyramid_channels: int = 256


def build_generic_detector(body: Backbone, settings: DetectorSettings) -> nn.Module:
    """Build the detector on `body`; anchors are torchvision's, eight times each level's stride."""
    match settings.kind:
        case "faster_rcnn":
            return _faster_rcnn(body, settings)
        case "retinanet":
            return _retinanet(body, settings)
        case "fcos":
            return _fcos(body, settings)
        case _:
            assert_never(settings.kind)


def _faster_rcnn(body: Backbone, settings: DetectorSettings) -> nn.Module:
    model: nn.Module = FasterRCNN(
        PyramidNeck(body, TWO_STAGE_STRIDES, settings.pyramid_channels, LastLevelMaxPool()),
        num_classes=settings.num_classes + 1,
        box_score_thresh=settings.score_threshold,
        box_nms_thresh=settings.nms_threshold,
        box_detections_per_img=settings.detections_per_image,
    )
    return model


def _retinanet(body: Backbone, settings: DetectorSettings) -> nn.Module:
    width = settings.pyramid_channels
    anchors = retinanet_anchors()
    head = RetinaNetHead(
        width,
        anchors.num_anchors_per_location()[0],
        settings.num_classes,
        norm_layer=partial(nn.GroupNorm, NORM_GROUPS),
    )
    # As in torchvision's second version, whose boxes are better than with the smooth L1 loss.
    head.regression_head._loss_type = "giou"
    model: nn.Module = RetinaNet(
        PyramidNeck(body, ONE_STAGE_STRIDES, width, LastLevelP6P7(width, width)),
        settings.num_classes,
        anchor_generator=anchors,
        head=head,
        score_thresh=settings.score_threshold,
        nms_thresh=settings.nms_threshold,
        detections_per_img=settings.detections_per_image,
    )
    return model


def _fcos(body: Backbone, settings: DetectorSettings) -> nn.Module:
    width = settings.pyramid_channels
    model: nn.Module = FCOS(
        PyramidNeck(body, ONE_STAGE_STRIDES, width, LastLevelP6P7(width, width)),
        settings.num_classes,
        score_thresh=settings.score_threshold,
        nms_thresh=settings.nms_threshold,
        detections_per_img=settings.detections_per_image,
    )
    return model


def retinanet_anchors() -> AnchorGenerator:
    """Anchors of arXiv:1708.02002: three sizes per octave and three aspect ratios at each level."""
    sides = (32, 64, 128, 256, 512)
    sizes = tuple((side, int(side * 2 ** (1 / 3)), int(side * 2 ** (2 / 3))) for side in sides)
    return AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
