"""From the `backbone` section to a backbone, whatever its source."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from transferflow.errors import WeightsError
from transferflow.models.backbones.from_checkpoint import build_checkpoint, checkpoint_preprocessing
from transferflow.models.backbones.from_package import build_package, package_preprocessing
from transferflow.models.backbones.from_timm import build_timm
from transferflow.models.backbones.from_torchvision import build_torchvision
from transferflow.models.backbones.timm_weights import resolve_timm, timm_preprocessing
from transferflow.models.backbones.torchvision_weights import resolve_torchvision, torchvision_preprocessing
from transferflow.models.backbones.weights import is_dense, locate_weights
from transferflow.models.channels import ChannelPlan
from transferflow.models.layers import Backbone, Preprocessing
from transferflow.models.weights.lock import verified_weights
from transferflow.models.weights.state_files import read_state
from transferflow.spec.deciding import is_random
from transferflow.spec.sections.backbone import Backbone as Section
from transferflow.spec.sections.backbone import (
    CheckpointBackbone,
    PackageBackbone,
    TimmBackbone,
    TorchvisionBackbone,
)
from transferflow.spec.sections.size import Size, size_of


def build_backbone(
    section: Section,
    *,
    channels: int,
    image_size: int | Size | None,
    pretrained: bool = True,
    device: str = "cpu",
    offline: bool = False,
) -> Backbone:
    """Build a backbone with its weights, its first convolution adapted to `channels`.

    Args:
        section: What the spec says.
        channels: Input channels.
        image_size: Of the input in pixels: a side, or height and width; `None` for what the weights were
            trained with. Position embeddings of ViTs are resampled to it.
        pretrained: `False` builds the architecture alone: for a plan on the `meta` device, or to load one's
            own weights into; it is then not the weights that are random but the model that is empty.
        device: `cpu`, or `meta` for shapes without weights.
        offline: Never download (also by HF_HUB_OFFLINE).

    Raises:
        PlanError: If there is no such model, or it can't take the size or the channels.
        WeightsError: If the weights can't be had or do not fit; they are never replaced by random ones.
    """
    plan = channel_plan(section, channels)
    file = None
    if pretrained and device != "meta":
        if is_dense(section):
            raise _dense_error(section)
        found = locate_weights(section)
        file = None if found is None else verified_weights(found, offline=offline)
    preprocessing = preprocessing_of(section, image_size)
    match section:
        case TorchvisionBackbone():
            state = None if file is None else read_state(file)
            return build_torchvision(section.name, preprocessing, plan, state=state, device=device)
        case TimmBackbone():
            choice = resolve_timm(section.name, section.weights)
            return build_timm(choice, preprocessing, plan, file=file, device=device)
        case CheckpointBackbone():
            state = None if file is None else read_state(file)
            return build_checkpoint(section, preprocessing, plan, state=state, device=device)
        case PackageBackbone():
            state = None if file is None else read_state(file)
            return build_package(preprocessing, plan, state=state, device=device)
        case _:
            assert_never(section)


def preprocessing_of(section: Section, image_size: int | Size | None) -> Preprocessing:
    """What the section's weights were trained with (RGB), for images of `image_size`.

    Raises:
        PlanError: If there is no such model.
        WeightsError: If the model has no such weights.
    """
    usual = _usual_preprocessing(section)
    return usual if image_size is None else replace(usual, image_size=size_of(image_size))


def _usual_preprocessing(section: Section) -> Preprocessing:
    match section:
        case TorchvisionBackbone():
            published = resolve_torchvision(section.name, section.weights)
            usual = published or resolve_torchvision(section.name, "DEFAULT")
            return torchvision_preprocessing(usual) if usual else Preprocessing()
        case TimmBackbone():
            return timm_preprocessing(resolve_timm(section.name, section.weights))
        case CheckpointBackbone():
            return checkpoint_preprocessing(section)
        case PackageBackbone():
            return package_preprocessing()
        case _:
            assert_never(section)


def channel_plan(section: Section, channels: int) -> ChannelPlan:
    """How the first convolution becomes one for `channels`."""
    given = section.normalization
    own = isinstance(section, CheckpointBackbone)  # there it says what the weights were trained with
    normalization = None if given is None or own else (given.mean, given.std)
    how = "random" if is_random(section) else section.channel_adaptation
    return ChannelPlan(channels, how, normalization)


def _dense_error(section: Section) -> WeightsError:
    return WeightsError(
        f"the weights {section.weights} are those of a whole detector or segmenter",
        where="backbone.weights",
        found=section.weights,
        allowed="IMAGENET1K_V1, IMAGENET1K_V2 or none for a backbone alone",
    )
