"""What backbones there are, for `transferflow backbones list`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import timm
from pydantic import TypeAdapter

from transferflow.errors import PlanError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.backbones.from_package import package_file, package_preprocessing
from transferflow.models.backbones.timm_weights import resolve_timm, timm_preprocessing, timm_tags
from transferflow.models.backbones.torchvision_weights import (
    DENSE,
    known_torchvision,
    resolve_torchvision,
    torchvision_file,
    torchvision_preprocessing,
)
from transferflow.models.layers import Preprocessing
from transferflow.spec.backbone import Backbone as Section

Source = Literal["torchvision", "timm", "package"]
_SECTIONS: TypeAdapter[Section] = TypeAdapter(Section)


@dataclass(frozen=True)
class BackboneInfo:
    """One backbone, with what its default weights were trained with.

    Attributes:
        source: Where it comes from.
        name: Name for `backbone.name`.
        image_size: Side of the input in pixels.
        mean: Per channel, on the 0..1 scale.
        std: Per channel, on the 0..1 scale.
        weights: Names for `backbone.weights`, the default first.
        licence: Of the default weights; empty when unknown.
    """

    source: Source
    name: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: tuple[str, ...]
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
        best = resolve_torchvision(name, "DEFAULT")
        known = (*tags, *DENSE.get(name, ()))
        if best is not None and _holds(words, name, known):
            licence = torchvision_file(best).licence
            yield _info("torchvision", name, torchvision_preprocessing(best), known, licence)


def _package(words: list[str]) -> Iterator[BackboneInfo]:
    file = package_file()
    if _holds(words, file.name, (file.tag,)):
        yield _info("package", file.name, package_preprocessing(None), (file.tag,), file.licence)


def _timm(words: list[str]) -> Iterator[BackboneInfo]:
    for name in timm.list_models():
        tags = timm_tags(name)
        if _holds(words, name, tags):
            choice = resolve_timm(name, "none")
            yield _info("timm", name, timm_preprocessing(choice), tags, str(choice.config.license or ""))


def _info(
    source: Source, name: str, known: Preprocessing, weights: tuple[str, ...], licence: str
) -> BackboneInfo:
    return BackboneInfo(source, name, known.image_size, known.mean, known.std, weights, licence)


def _holds(words: list[str], name: str, weights: tuple[str, ...]) -> bool:
    text = " ".join((name, *weights)).lower()
    return all(word in text for word in words)
