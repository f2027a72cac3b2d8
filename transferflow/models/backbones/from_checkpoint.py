"""A user's own weights file, in an architecture of torchvision or timm."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor, nn

from transferflow.errors import WeightsError
from transferflow.logs import get_logger
from transferflow.models.backbones.from_timm import create_bare, first_convs, wrap_timm
from transferflow.models.backbones.from_torchvision import (
    TorchvisionBackbone,
    build_architecture,
    prepare_state,
)
from transferflow.models.backbones.matching import (
    COUNTERS,
    MatchReport,
    list_keys,
    match_state,
    rename_keys,
    suggest_prefix,
    unfit_values,
    values_error,
)
from transferflow.models.backbones.timm_weights import resolve_timm, timm_preprocessing
from transferflow.models.backbones.torchvision_geometry import geometry_of, known_name
from transferflow.models.backbones.torchvision_weights import resolve_torchvision, torchvision_preprocessing
from transferflow.models.channels import RGB, ChannelPlan, adapt_input
from transferflow.models.layers import Backbone, Preprocessing
from transferflow.models.standardised import plain_state
from transferflow.models.weights.files import LocalFile, Location, Url, WeightFile
from transferflow.models.weights.state_files import failure
from transferflow.spec.sections.backbone import CheckpointBackbone
from transferflow.spec.sections.published import PUBLISHED
from transferflow.spec.sections.size import Size, as_given, show_size
from transferflow.text import one_line

logger = get_logger("models")
_WHOLE = frozenset(model.name for model in PUBLISHED.values())


def checkpoint_file(section: CheckpointBackbone) -> WeightFile:
    """Where the file is; remote files are kept below TORCH_HOME, under their hash."""
    place = section.weights.removeprefix("file://")
    location: Location
    if "://" in place:
        name = f"{(section.sha256 or '')[:16]}-{place.partition('?')[0].rsplit('/', 1)[-1]}"
        location = Url(place, Path(torch.hub.get_dir()) / "checkpoints" / name, section.sha256)
    else:
        location = LocalFile(Path(place), section.sha256)
    preprocessing = checkpoint_preprocessing(section)
    return WeightFile(
        "checkpoint",
        section.name,
        Path(place).name,
        location,
        mean=preprocessing.mean,
        std=preprocessing.std,
    )


def checkpoint_preprocessing(section: CheckpointBackbone) -> Preprocessing:
    """The section's statistics (or ImageNet's), and the architecture's own size and filter."""
    match section.library:
        case "torchvision" if section.name in _WHOLE:
            usual = Preprocessing()
        case "torchvision":
            published = resolve_torchvision(section.name, "DEFAULT")
            usual = torchvision_preprocessing(published) if published else Preprocessing()
        case "timm":
            usual = timm_preprocessing(resolve_timm(section.name, "none"))
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
    renamed = rename_keys(state, section.prefix, section.key_map, list(parts.model.state_dict()))
    if _input_channels(renamed, parts.convs) == plan.channels != RGB:
        renamed = plain_state(parts.model, parts.convs, renamed)
        adapted = adapt_input(parts.model, preprocessing, plan, parts.convs)
        load_matching(parts, _with_zero_bias(parts, renamed), section)
        return parts.wrap(adapted)
    load_matching(parts, renamed, section)
    return parts.wrap(adapt_input(parts.model, preprocessing, plan, parts.convs))


@dataclass(frozen=True)
class Architecture:
    """An architecture before its weights.

    Attributes:
        model: Without classifier.
        size: Of the images that it is built for, height and width in pixels.
        convs: Paths of the modules that see the image.
        wrap: Makes the backbone of it.
        resample: Fits what depends on the image size, such as position embeddings.
        usual: The size that the architecture is usually trained with, and its state there (on `meta`).
    """

    model: nn.Module
    size: Size
    convs: tuple[str, ...]
    wrap: Callable[[Preprocessing], Backbone]
    resample: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
    usual: Callable[[], tuple[Size, Mapping[str, Tensor]]] | None = None


def load_matching(
    parts: Architecture, renamed: Mapping[str, Tensor], section: CheckpointBackbone
) -> MatchReport:
    """Load what fits, and say what does not.

    Raises:
        WeightsError: If less than `min_match` fits, the first layer is not filled, or values are no weights.
    """
    own = parts.model.state_dict()
    try:
        fitted = parts.resample(renamed)
    except (ValueError, RuntimeError) as error:
        raise _poor_match(section, f"position embeddings: {failure(error)}", "") from error
    report = match_state(own, fitted)
    if report.share < section.min_match:
        raise _explain(parts, renamed, section, report)
    _check_input(parts, fitted, report, section)
    _load(parts.model, {key: fitted[key] for key in report.matched}, fitted, section)
    random = (*report.missing, *report.misshapen)
    start, end = ("warning: ", f"; these stay random: {list_keys(random, 20)}") if random else ("", "")
    level = logging.WARNING if random else logging.INFO
    logger.log(level, "%sweights of %s: %s%s", start, section.weights, report, end)
    return report


def _load(
    model: nn.Module, chosen: Mapping[str, Tensor], state: Mapping[str, Tensor], section: CheckpointBackbone
) -> None:
    own = model.state_dict()
    if unfit := unfit_values(model, chosen):
        raise values_error(unfit, f"backbone.weights: {section.weights}")
    counters = {key: state[key] for key in own if key.endswith(COUNTERS) and key in state}
    fitting = {key: value for key, value in counters.items() if value.shape == own[key].shape}
    try:
        model.load_state_dict({**chosen, **fitting}, strict=False)
    except RuntimeError as error:
        raise _poor_match(section, failure(error), "") from error


def _build_architecture(section: CheckpointBackbone, size: Size, device: str) -> Architecture:
    match section.library:
        case "torchvision":
            name = known_name(section.name)
            model = build_architecture(name, size, device)
            return Architecture(
                model,
                size,
                (geometry_of(name).first_conv,),
                lambda ready: TorchvisionBackbone(model, name, ready),
                lambda state: {**state, **prepare_state(name, state, size)},
            )
        case "timm":
            choice = resolve_timm(section.name, "none")
            bare = create_bare(choice, size, device)
            convs = first_convs(choice, bare)
            usual = timm_preprocessing(choice).image_size
            return Architecture(
                bare,
                size,
                convs,
                lambda ready: wrap_timm(choice, bare, ready, convs),
                lambda state: _convert(bare, state),
                lambda: (usual, create_bare(choice, usual, "meta").state_dict()),
            )
        case _:
            assert_never(section.library)


def _convert(model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Let timm convert what does not fit: it resamples positions and tables, and knows old names."""
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    own = model.state_dict()
    share = match_state(own, state).share
    if convert is None or share == 1:
        return state
    try:
        converted: Mapping[str, Tensor] = convert(dict(state), model)
    # The conversions are written for the files that they know, and raise anything for others.
    except Exception:
        return state
    return converted if match_state(own, converted).share > share else state


def _check_input(
    parts: Architecture, state: Mapping[str, Tensor], report: MatchReport, section: CheckpointBackbone
) -> None:
    """A random first layer spoils all that follow, however few its numbers."""
    own = parts.model.state_dict()
    unfilled = [key for key in (*report.missing, *report.misshapen) if _is_below(key, parts.convs)]
    if not unfilled:
        return
    key = unfilled[0]
    theirs = f"of shape {_shape(state[key])}" if key in state else "missing"
    raise WeightsError(
        "the file does not fill the layer that sees the image",
        where=f"backbone.weights: {section.weights}",
        found=f"{one_line(key)} is {theirs}",
        allowed=f"shape {_shape(own[key])}: a file for 3 channels, or for data.channels",
        hint="set data.channels to the file's own, or rename its keys with backbone.key_map",
    )


def _is_below(key: str, paths: Sequence[str]) -> bool:
    return any(key.startswith(f"{path}.") for path in paths)


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "()"


def _input_channels(state: Mapping[str, Tensor], convs: Sequence[str]) -> int | None:
    kernel = state.get(f"{convs[0]}.weight")
    return int(kernel.shape[1]) if kernel is not None and kernel.ndim == 4 else None


def _with_zero_bias(parts: Architecture, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """`fold` gives the first convolution a bias; a file that needs no folding has none."""
    own = parts.model.state_dict()
    biases = [f"{path}.bias" for path in parts.convs if f"{path}.bias" in own]
    return {**{key: torch.zeros_like(own[key]) for key in biases}, **state}


def _explain(
    parts: Architecture, renamed: Mapping[str, Tensor], section: CheckpointBackbone, report: MatchReport
) -> WeightsError:
    """Say why little matches: another image size, a prefix, or another model."""
    if parts.usual is not None:
        size, usual = parts.usual()
        if size != parts.size and match_state(usual, renamed).share > report.share:
            return WeightsError(
                f"the file's tables can't be fitted to images of {show_size(parts.size)} pixels",
                where=f"backbone.weights: {section.weights}",
                found=str(report),
                allowed=f"data.image_size: {as_given(size)}, which {section.name} is trained with",
            )
    prefix = suggest_prefix(list(parts.model.state_dict()), list(renamed))
    whole = one_line(f"{section.prefix}{prefix}")
    hint = f"the file puts {whole!r} before its keys: set backbone.prefix" if prefix else ""
    return _poor_match(section, str(report), hint)


def _poor_match(section: CheckpointBackbone, found: str, hint: str) -> WeightsError:
    return WeightsError(
        f"the file fills too little of {section.name}",
        where=f"backbone.weights: {section.weights}",
        found=found,
        allowed=f"at least {section.min_match * 100:.10g}% matched (backbone.min_match)",
        hint=hint or "check backbone.name, or rename keys with backbone.prefix and backbone.key_map",
    )
