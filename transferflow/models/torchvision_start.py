"""Torchvision's published detectors and segmenters on ResNet-50: when they are meant, how they start."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import nn
from torchvision.models import WeightsEnum

from transferflow.errors import WeightsError
from transferflow.models.backbones.build import build_backbone, channel_plan
from transferflow.models.backbones.torchvision_weights import load_torchvision_state
from transferflow.models.channels import adapt_first_conv
from transferflow.models.layers import Preprocessing
from transferflow.spec.sections.backbone import Backbone as BackboneSection
from transferflow.spec.sections.backbone import TorchvisionBackbone

Start = Literal["whole", "backbone", "random"]


def decide_start(backbone: BackboneSection, whole: str) -> Start:
    """Decide which weights a torchvision ResNet model starts from.

    Args:
        backbone: The backbone section.
        whole: Name of the published weights of the whole model, which only ResNet-50 has.
    """
    if backbone.weights.lower() == "none":
        return "random"
    is_whole = backbone.weights in ("DEFAULT", whole) and is_torchvision(backbone, "resnet50")
    return "whole" if is_whole else "backbone"


def is_torchvision(backbone: BackboneSection, *names: str) -> bool:
    """Whether it is one of torchvision's models of these names, with torchvision's weights."""
    return isinstance(backbone, TorchvisionBackbone) and backbone.name in names


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
    image_size: int,
    pretrained: bool,
) -> Preprocessing:
    """Give a ResNet that a torchvision model holds its input channels and, where asked, ImageNet's weights.

    Args:
        body: Module whose children are `conv1 bn1 … layer4`; already loaded where `start` is `whole`.
        backbone: The backbone section.
        start: Which weights the model starts from.
        channels: Input channels.
        image_size: What the weights were trained at, in pixels.
        pretrained: Whether weights are loaded at all.

    Returns:
        What the weights were trained with.
    """
    plan = channel_plan(backbone, channels)
    before = Preprocessing(image_size=image_size, crop_fraction=1.0)
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
