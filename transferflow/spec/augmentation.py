"""The `augmentation` section: how training images are varied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, JsonValue, Tag

from transferflow.spec.base import Fraction, NonNegative, Section, Text


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

    one_of: Annotated[tuple[Transform, ...], Field(min_length=2)]
    """The candidates; `probability` of each is its weight."""
    probability: Fraction = 0.5
    """Chance that one of them is applied."""


def _step_kind(value: object) -> str:
    has_one_of = "one_of" in value if isinstance(value, Mapping) else isinstance(value, OneOf)
    return "one_of" if has_one_of else "transform"


Step = Annotated[
    Annotated[Transform, Tag("transform")] | Annotated[OneOf, Tag("one_of")], Discriminator(_step_kind)
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

    transforms: Annotated[tuple[Step, ...], Field(min_length=1)]
    """Transforms in order."""


def _augmentation_kind(value: Any) -> Literal["preset", "custom"]:
    is_custom = "transforms" in value if isinstance(value, Mapping) else isinstance(value, Custom)
    return "custom" if is_custom else "preset"


Augmentation = Annotated[
    Annotated[Preset, Tag("preset")] | Annotated[Custom, Tag("custom")], Discriminator(_augmentation_kind)
]
