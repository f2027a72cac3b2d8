"""Torchvision's published detectors and segmenters on ResNet-50: when they are meant, how they start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, assert_never

from torch import nn
from torchvision.models import WeightsEnum

from transferflow.errors import PlanError, WeightsError
from transferflow.models.backbones.build import build_backbone, channel_plan
from transferflow.models.backbones.from_checkpoint import checkpoint_file
from transferflow.models.backbones.matching import rename_keys
from transferflow.models.backbones.torchvision_weights import (
    detector_weights,
    segmenter_weights,
    torchvision_file,
)
from transferflow.models.channels import adapt_first_conv
from transferflow.models.layers import Preprocessing
from transferflow.models.weights.files import WeightFile
from transferflow.models.weights.lock import verified_weights
from transferflow.models.weights.state_files import read_state
from transferflow.spec.sections.backbone import Backbone as BackboneSection
from transferflow.spec.sections.backbone import CheckpointBackbone
from transferflow.spec.sections.head import DetectionHead, Head, LinearHead, SegmentationHead, ZeroShotHead
from transferflow.spec.sections.published import published_model, starts_whole

Start = Literal["whole", "backbone", "random"]
_DUNDER, _BACKGROUND, _NOTHING = "__background__", "background", "N/A"


def whole_weights(head: Head, backbone: BackboneSection) -> WeightsEnum | None:
    """The published weights of the detector or segmenter that the sections describe.

    `None` where torchvision has no such model: it is then built on the backbone alone.
    """
    if published_model(head, backbone) is None:
        return None
    match head:
        case DetectionHead():
            return detector_weights(head.kind)
        case SegmentationHead():
            return segmenter_weights(head.kind)
        case LinearHead() | ZeroShotHead():
            return None
        case _:
            assert_never(head)


def decide_start(head: Head, backbone: BackboneSection) -> Start:
    """Decide which weights a detector or segmenter of torchvision starts from."""
    if starts_whole(head, backbone):
        return "whole"
    return "random" if backbone.weights.lower() == "none" else "backbone"


def whole_file(backbone: BackboneSection, whole: WeightsEnum) -> WeightFile:
    """The file of a whole model: the published one, or the user's own of the same layout."""
    return checkpoint_file(backbone) if isinstance(backbone, CheckpointBackbone) else torchvision_file(whole)


def load_whole(model: nn.Module, backbone: BackboneSection, whole: WeightsEnum) -> None:
    """Load the weights of a whole model; nothing stays random.

    Raises:
        WeightsError: If they can't be had, or do not fit.
    """
    state = read_state(verified_weights(whole_file(backbone, whole)))
    hint = "delete it and run `transferflow weights fetch SPEC`"
    if isinstance(backbone, CheckpointBackbone):
        state = rename_keys(state, backbone.prefix, backbone.key_map, list(model.state_dict()))
        hint = f"take a file of the whole of {backbone.name}, with as many classes as {whole} has"
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"the file holds other weights than those of {whole}",
            where=f"backbone.weights: {backbone.weights}",
            found=str(error)[:500],
            hint=hint,
        ) from error


def known_labels(whole: WeightsEnum) -> tuple[str, ...]:
    """Names of a published model's classes by the number that it gives them; the background is one."""
    names = (_BACKGROUND if name == _DUNDER else name for name in whole.meta["categories"])
    return tuple(names)


def find_labels(whole: WeightsEnum, classes: Sequence[str]) -> tuple[int, ...]:
    """The number that a published model gives to each of some classes.

    Raises:
        PlanError: If it does not know one of them; with every one.
    """
    labels = known_labels(whole)
    named = [name for name in labels if name != _NOTHING]
    unknown = [name for name in classes if name not in named]
    if unknown:
        raise PlanError(
            f"nothing is trained, and {whole} does not know each class",
            where="training.epochs",
            found=", ".join(unknown),
            allowed=", ".join(named),
            hint="train for an epoch or more, or name the classes as they are named there (data.classes)",
        )
    return tuple(labels.index(name) for name in classes)


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
    if isinstance(backbone, CheckpointBackbone) and backbone.normalization is not None:
        before = replace(before, mean=backbone.normalization.mean, std=backbone.normalization.std)
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
