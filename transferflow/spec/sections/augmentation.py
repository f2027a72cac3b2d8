"""The `augmentation` section: how training images are varied."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, JsonValue, Tag

from transferflow.limits import MAX_NAMES
from transferflow.spec.sections.base import ChosenByPresence, Fraction, NonNegative, Section, Text


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


class _Augmentation(Section):
    mixup: NonNegative = 0.0
    """Alpha of mixup (arXiv:1710.09412); 0 switches it off. Classification only."""
    cutmix: NonNegative = 0.0
    """Alpha of CutMix (arXiv:1905.04899); 0 switches it off. Classification only."""


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
