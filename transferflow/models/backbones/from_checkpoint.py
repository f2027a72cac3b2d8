"""A user's own weights file, in an architecture of torchvision or timm."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor, nn

from transferflow.errors import WeightsError
from transferflow.models.backbones.from_timm import TimmBackbone, create_bare, first_convs
from transferflow.models.backbones.from_torchvision import (
    GEOMETRY,
    TorchvisionBackbone,
    build_architecture,
    prepare_state,
)
from transferflow.models.backbones.matching import (
    COUNTERS,
    MatchReport,
    match_state,
    rename_keys,
    suggest_prefix,
)
from transferflow.models.backbones.timm_weights import resolve_timm, timm_preprocessing
from transferflow.models.backbones.torchvision_weights import resolve_torchvision, torchvision_preprocessing
from transferflow.models.channels import RGB, ChannelPlan, adapt_input
from transferflow.models.layers import Backbone, Preprocessing
from transferflow.models.standardised import plain_state
from transferflow.models.weight_files import LocalFile, Location, Url, WeightFile
from transferflow.spec.backbone import CheckpointBackbone

log = logging.getLogger(__name__)


def checkpoint_file(section: CheckpointBackbone) -> WeightFile:
    """Where the file is; remote files are kept below TORCH_HOME, under their hash."""
    place = section.weights.removeprefix("file://")
    location: Location
    if "://" in place:
        name = f"{(section.sha256 or '')[:16]}-{place.rsplit('/', 1)[-1].partition('?')[0]}"
        location = Url(place, Path(torch.hub.get_dir()) / "checkpoints" / name, section.sha256)
    else:
        location = LocalFile(Path(place), section.sha256)
    preprocessing = checkpoint_preprocessing(section, None)
    return WeightFile(
        "checkpoint",
        section.name,
        Path(place).name,
        location,
        mean=preprocessing.mean,
        std=preprocessing.std,
    )


def checkpoint_preprocessing(section: CheckpointBackbone, image_size: int | None) -> Preprocessing:
    """The section's statistics (or ImageNet's), and the architecture's own size and filter."""
    match section.library:
        case "torchvision":
            published = resolve_torchvision(section.name, "DEFAULT")
            usual = torchvision_preprocessing(published, image_size) if published else Preprocessing()
        case "timm":
            usual = timm_preprocessing(resolve_timm(section.name, "none"), image_size)
        case _:
            assert_never(section.library)
    known, default = section.normalization, Preprocessing()
    return Preprocessing(
        mean=known.mean if known else default.mean,
        std=known.std if known else default.std,
        interpolation=usual.interpolation,
        image_size=usual.image_size,
        crop_fraction=usual.crop_fraction,
    )


def build_checkpoint(
    section: CheckpointBackbone,
    preprocessing: Preprocessing,
    plan: ChannelPlan,
    *,
    state: Mapping[str, Tensor] | None = None,
    device: str = "cpu",
) -> Backbone:
    """Build the architecture and load what the file's `state` fills.

    A file whose first convolution already has the spec's channels is loaded as it is; one for RGB is adapted.

    Raises:
        WeightsError: If the file fills less than `min_match` of the backbone.
        PlanError: If the library has no such model, or it can't take the size or the channels.
    """
    parts = _build_architecture(section, preprocessing.image_size, device)
    if state is None:
        return parts.wrap(adapt_input(parts.model, preprocessing, plan, parts.convs))
    renamed = rename_keys(state, section.prefix, section.key_map)
    if _input_channels(renamed, parts.convs) == plan.channels != RGB:
        renamed = plain_state(parts.model, parts.convs, renamed)
        adapted = adapt_input(parts.model, preprocessing, plan, parts.convs)
        load_matching(parts, _with_zero_bias(parts, renamed), section, state)
        return parts.wrap(adapted)
    load_matching(parts, renamed, section, state)
    return parts.wrap(adapt_input(parts.model, preprocessing, plan, parts.convs))


@dataclass(frozen=True)
class Architecture:
    """An architecture before its weights.

    Attributes:
        model: Without classifier.
        convs: Paths of the modules that see the image.
        wrap: Makes the backbone of it.
        resample: Fits position embeddings of another grid.
    """

    model: nn.Module
    convs: tuple[str, ...]
    wrap: Callable[[Preprocessing], Backbone]
    resample: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def load_matching(
    parts: Architecture,
    renamed: Mapping[str, Tensor],
    section: CheckpointBackbone,
    original: Mapping[str, Tensor],
) -> MatchReport:
    """Load what fits, and say what does not.

    Raises:
        WeightsError: If less than `min_match` fits.
    """
    own = parts.model.state_dict()
    try:
        fitted = {**renamed, **parts.resample(renamed)}
    except (ValueError, RuntimeError) as error:
        raise _poor_match(section, f"position embeddings: {error}", "") from error
    report = match_state(own, fitted)
    if report.share < section.min_match:
        prefix = suggest_prefix(list(own), list(original))
        hint = f"the file puts {prefix!r} before its keys: set backbone.prefix" if prefix else ""
        raise _poor_match(section, str(report), hint)
    counters = {key for key in own if key.endswith(COUNTERS) and key in fitted}
    parts.model.load_state_dict({key: fitted[key] for key in {*report.matched, *counters}}, strict=False)
    level = logging.WARNING if report.missing or report.misshapen else logging.INFO
    log.log(level, "weights of %s: %s", section.weights, report)
    return report


def _build_architecture(section: CheckpointBackbone, size: int, device: str) -> Architecture:
    match section.library:
        case "torchvision":
            resolve_torchvision(section.name, "none")
            model = build_architecture(section.name, size, device)
            return Architecture(
                model,
                (GEOMETRY[section.name].first_conv,),
                lambda ready: TorchvisionBackbone(model, section.name, ready),
                lambda state: prepare_state(section.name, state, size),
            )
        case "timm":
            choice = resolve_timm(section.name, "none")
            bare = create_bare(choice, size, device)
            convs = first_convs(choice, bare)
            return Architecture(
                bare,
                convs,
                lambda ready: TimmBackbone(bare, convs, ready),
                lambda state: _resample_positions(bare, state),
            )
        case _:
            assert_never(section.library)


def _resample_positions(model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Fit a timm ViT's `pos_embed` to the model's grid (bicubic)."""
    key = "pos_embed"
    own, theirs = model.state_dict().get(key), state.get(key)
    embed = getattr(model, "patch_embed", None)
    grid = getattr(embed, "grid_size", None)
    if own is None or theirs is None or grid is None or theirs.ndim != 3 or own.shape == theirs.shape:
        return state
    from timm.layers.pos_embed import resample_abs_pos_embed

    prefix = own.shape[1] - grid[0] * grid[1]
    resampled = resample_abs_pos_embed(theirs, new_size=list(grid), num_prefix_tokens=prefix)
    return {**state, key: resampled}


def _input_channels(state: Mapping[str, Tensor], convs: Sequence[str]) -> int | None:
    kernel = state.get(f"{convs[0]}.weight")
    return int(kernel.shape[1]) if kernel is not None and kernel.ndim == 4 else None


def _with_zero_bias(parts: Architecture, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """`fold` gives the first convolution a bias; a file that needs no folding has none."""
    own = parts.model.state_dict()
    biases = [f"{path}.bias" for path in parts.convs if f"{path}.bias" in own]
    return {**{key: torch.zeros_like(own[key]) for key in biases}, **state}


def _poor_match(section: CheckpointBackbone, found: str, hint: str) -> WeightsError:
    return WeightsError(
        f"the file fills too little of {section.name}",
        where=f"backbone.weights: {section.weights}",
        found=found,
        allowed=f"at least {section.min_match:.0%} matched (backbone.min_match)",
        hint=hint or "check backbone.name, or rename keys with backbone.prefix and backbone.key_map",
    )
