"""What backbones there are, for `transferflow backbones list`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import timm
from pydantic import TypeAdapter

from transferflow.errors import PlanError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.backbones.from_package import package_file, package_preprocessing
from transferflow.models.backbones.timm_weights import (
    TimmChoice,
    resolve_timm,
    timm_preprocessing,
    timm_tags,
)
from transferflow.models.backbones.torchvision_weights import (
    LICENCE,
    dense_weights,
    known_torchvision,
    resolve_torchvision,
    torchvision_file,
    torchvision_preprocessing,
)
from transferflow.models.layers import Preprocessing
from transferflow.spec.sections.backbone import Backbone as Section

Source = Literal["torchvision", "timm", "package"]
_SECTIONS: TypeAdapter[Section] = TypeAdapter(Section)


@dataclass(frozen=True)
class PublishedWeights:
    """One of a backbone's weights, with what they were trained with.

    Attributes:
        name: Name for `backbone.weights`.
        image_size: Side of the input in pixels.
        mean: Per channel, on the 0..1 scale.
        std: Per channel, on the 0..1 scale.
        licence: What the publisher says; empty when unknown.
    """

    name: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str


@dataclass(frozen=True)
class BackboneInfo:
    """One backbone, with what its default weights were trained with.

    Attributes:
        source: Where it comes from.
        name: Name for `backbone.name`.
        image_size: Side of the input in pixels.
        mean: Per channel, on the 0..1 scale.
        std: Per channel, on the 0..1 scale.
        weights: What there is for `backbone.weights`, the default first.
        licence: Of the default weights; empty when unknown.
    """

    source: Source
    name: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: tuple[PublishedWeights, ...]
    licence: str


@dataclass(frozen=True)
class BackboneShape:
    """What is only known once the model is built, on the `meta` device.

    Attributes:
        parameters: Number of parameters, without a head.
        num_features: Width of the pooled features.
        groups: Names of the layer groups, from the stem on.
    """

    parameters: int
    num_features: int
    groups: tuple[str, ...]


def list_backbones(source: Source | None = None, search: str = "") -> list[BackboneInfo]:
    """Backbones whose name or weights contain each word of `search`.

    Raises:
        PlanError: If there is none.
    """
    words = search.lower().split()
    listings: dict[Source, Callable[[list[str]], Iterator[BackboneInfo]]] = {
        "torchvision": _torchvision,
        "package": _package,
        "timm": _timm,
    }
    wanted = listings.values() if source is None else (listings[source],)
    found = [info for listing in wanted for info in listing(words)]
    if not found:
        close = difflib.get_close_matches(search, timm.list_models(), 5, 0.4)
        raise PlanError(
            "no backbone matches",
            where="--search",
            found=search,
            allowed=f"did you mean {', '.join(close)}?" if close else "a part of a model's or tag's name",
        )
    return found


def measure_backbone(info: BackboneInfo) -> BackboneShape | None:
    """Build the model on `meta` and count; `None` for the few models that give no pooled features."""
    values = {"source": info.source, "name": info.name}
    if info.source != "package":
        values["weights"] = "none"
    try:
        backbone = build_backbone(
            _SECTIONS.validate_python(values), channels=3, image_size=None, pretrained=False, device="meta"
        )
    except PlanError:
        return None
    return BackboneShape(
        parameters=sum(parameter.numel() for parameter in backbone.parameters()),
        num_features=backbone.num_features,
        groups=tuple(group.name for group in backbone.groups),
    )


def to_json(info: BackboneInfo, shape: BackboneShape | None) -> dict[str, Any]:
    """Return plain JSON data."""
    return asdict(info) | (asdict(shape) if shape else {})


def _torchvision(words: list[str]) -> Iterator[BackboneInfo]:
    for name, tags in known_torchvision().items():
        dense = dense_weights(name)
        if not _holds(words, name, (*tags, *dense)):
            continue
        known = [(tag, resolve_torchvision(name, tag)) for tag in tags]
        weights = [
            _published(tag, torchvision_preprocessing(entry), torchvision_file(entry).licence)
            for tag, entry in known
            if entry is not None
        ]
        # Weights of whole detectors and segmenters name no size of their own for the backbone.
        weights += [replace(weights[0], name=tag, licence=LICENCE) for tag in dense]
        yield _info("torchvision", name, weights)


def _package(words: list[str]) -> Iterator[BackboneInfo]:
    file = package_file()
    if _holds(words, file.name, (file.tag,)):
        weights = [_published(file.tag, package_preprocessing(), file.licence)]
        yield _info("package", file.name, weights)


def _timm(words: list[str]) -> Iterator[BackboneInfo]:
    for name in timm.list_models():
        tags = timm_tags(name)
        if _holds(words, name, tags):
            weights = [_published_by_timm(tag, resolve_timm(name, tag)) for tag in tags]
            usual = _published_by_timm("none", resolve_timm(name, "none"))
            yield _info("timm", name, weights, weights[0] if weights else usual)


def _published_by_timm(name: str, choice: TimmChoice) -> PublishedWeights:
    return _published(name, timm_preprocessing(choice), str(choice.config.license or ""))


def _published(name: str, known: Preprocessing, licence: str) -> PublishedWeights:
    return PublishedWeights(name, known.image_size[0], known.mean, known.std, licence)


def _info(
    source: Source, name: str, weights: Sequence[PublishedWeights], usual: PublishedWeights | None = None
) -> BackboneInfo:
    shown = usual or weights[0]
    return BackboneInfo(source, name, shown.image_size, shown.mean, shown.std, tuple(weights), shown.licence)


def _holds(words: list[str], name: str, weights: tuple[str, ...]) -> bool:
    text = " ".join((name, *weights)).lower()
    return all(word in text for word in words)
