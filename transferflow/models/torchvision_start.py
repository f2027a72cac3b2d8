"""Torchvision's published detectors and segmenters on ResNet-50: when they are meant, how they start."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, assert_never

from torch import nn
from torchvision.models import WeightsEnum

from transferflow.errors import WeightsError
from transferflow.models.backbones.build import build_backbone, channel_plan
from transferflow.models.backbones.torchvision_weights import (
    DENSE_BODY,
    detector_weights,
    load_torchvision_state,
    segmenter_weights,
)
from transferflow.models.channels import adapt_first_conv
from transferflow.models.layers import Preprocessing
from transferflow.spec.sections.backbone import Backbone as BackboneSection
from transferflow.spec.sections.backbone import TorchvisionBackbone
from transferflow.spec.sections.head import DetectionHead, Head, LinearHead, SegmentationHead, ZeroShotHead

COCO_CHANNELS = 256
"""Width of the feature pyramid of the published detectors."""
Start = Literal["whole", "backbone", "random"]


def whole_weights(head: Head, backbone: BackboneSection) -> WeightsEnum | None:
    """The published weights of the detector or segmenter that the sections describe.

    `None` where torchvision has no such model: it is then built on the backbone alone.
    """
    if not isinstance(backbone, TorchvisionBackbone) or backbone.name != DENSE_BODY:
        return None
    match head:
        case DetectionHead():
            return detector_weights(head.kind) if head.pyramid_channels == COCO_CHANNELS else None
        case SegmentationHead():
            return segmenter_weights(head.kind)
        case LinearHead() | ZeroShotHead():
            return None
        case _:
            assert_never(head)


def decide_start(backbone: BackboneSection, whole: WeightsEnum) -> Start:
    """Decide which weights a detector or segmenter of torchvision starts from.

    Args:
        backbone: The backbone section.
        whole: The published weights of the whole model.
    """
    if backbone.weights.lower() == "none":
        return "random"
    return "whole" if backbone.weights in ("DEFAULT", whole.name) else "backbone"


def load_whole(model: nn.Module, weights: WeightsEnum) -> None:
    """Load the published weights of a whole model; nothing stays random.

    Raises:
        WeightsError: If they can't be had, or do not fit.
    """
    try:
        model.load_state_dict(load_torchvision_state(weights), strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"the file of {weights} holds other weights",
            where="backbone.weights",
            found=str(error)[:500],
            hint="delete it and run `transferflow weights fetch SPEC`",
        ) from error


def apply_resnet_start(
    body: nn.Module,
    backbone: BackboneSection,
    start: Start,
    *,
    channels: int,
    side: int,
    pretrained: bool,
) -> Preprocessing:
    """Give a ResNet that a torchvision model holds its input channels and, where asked, ImageNet's weights.

    Args:
        body: Module whose children are `conv1 bn1 … layer4`; already loaded where `start` is `whole`.
        backbone: The backbone section.
        start: Which weights the model starts from.
        channels: Input channels.
        side: Of the images that the weights were trained at, in pixels.
        pretrained: Whether weights are loaded at all.

    Returns:
        What the weights were trained with.
    """
    plan = channel_plan(backbone, channels)
    before = Preprocessing(image_size=(side, side), crop_fraction=1.0)
    mean, std = adapt_first_conv(
        body,
        plan.channels,
        plan.how,
        before.mean,
        before.std,
        normalization=plan.normalization,
        paths=("conv1",),
    )
    if start == "backbone" and pretrained:
        trained = build_backbone(backbone, channels=channels, image_size=None)
        body.load_state_dict(trained.get_submodule("model").state_dict(), strict=True)
    return replace(before, mean=mean, std=std)
