"""The `augmentation` section: how training images are varied."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, JsonValue, Tag

from transferflow.limits import MAX_NAMES
from transferflow.spec.sections.base import (
    ChosenByPresence,
    Fraction,
    NonNegative,
    Positive,
    Section,
    Text,
)


class Transform(Section):
    """One albumentations transform, by name."""

    name: Text
    """Class name in albumentations, such as `HorizontalFlip`."""
    probability: Fraction = 0.5
    """Chance that it is applied."""
    args: dict[Text, JsonValue] = {}
    """Its arguments, checked against its signature."""


class OneOf(Section):
    """Applies just one of several transforms."""

    one_of: Annotated[tuple[Transform, ...], Field(min_length=2, max_length=MAX_NAMES)]
    """The candidates; `probability` of each is its weight."""
    probability: Fraction = 0.5
    """Chance that one of them is applied."""


Step = Annotated[
    Annotated[Transform, Tag("transform")] | Annotated[OneOf, Tag("one_of")],
    Discriminator(ChosenByPresence(("one_of",), absent="transform")),
]


Scale = Annotated[Positive, Field(ge=0.1, le=4)]


def _from_low_to_high(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the first factor ({bounds[0]:g}) must not be above the second ({bounds[1]:g})")
    return bounds


class _Augmentation(Section):
    mixup: NonNegative = 0.0
    """Alpha of mixup (arXiv:1710.09412); 0 switches it off. Classification only."""
    cutmix: NonNegative = 0.0
    """Alpha of CutMix (arXiv:1905.04899); 0 switches it off. Classification only."""
    scale: Annotated[tuple[Scale, Scale], AfterValidator(_from_low_to_high)] | None = None
    """Bounds of a random factor by which an image is resized before its window is cut out, such as
    `[0.5, 2.0]`; for `data.fit: {crop: …}`."""


class Preset(_Augmentation):
    """A ready set of transforms."""

    preset: Literal["similar_domain", "different_domain", "none"] = "similar_domain"
    """`similar_domain`: images like those of the pretraining; `different_domain`: medical, satellite,
    industrial; `none`: resize and normalise only."""


class Custom(_Augmentation):
    """Your own list of transforms, between the resize and the normalisation."""

    transforms: Annotated[tuple[Step, ...], Field(min_length=1, max_length=MAX_NAMES)]
    """Transforms in order."""


Augmentation = Annotated[
    Annotated[Preset, Tag("preset")] | Annotated[Custom, Tag("transforms")],
    Discriminator(ChosenByPresence(("transforms",), absent="preset")),
]
