"""The size of what the model sees: one side of a square, or height and width."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Discriminator, Field, StrictInt, Tag

from transferflow.spec.sections.base import ChosenByForm

Size = tuple[int, int]
"""Height and width in pixels."""
Side = Annotated[StrictInt, Field(ge=16, le=4096)]
"""In pixels."""


def _one_way_to_say_it(value: object) -> object:
    """A square is one number: `[224, 224]` and 224 are the same spec."""
    if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]:
        return value[0]
    return value


ImageSize = Annotated[
    Annotated[Side, Tag("side")] | Annotated[tuple[Side, Side], Tag("height_and_width")],
    Discriminator(ChosenByForm("list", "height_and_width", "side")),
    BeforeValidator(_one_way_to_say_it),
]
"""As a spec says it: a side, or `[height, width]`."""


def size_of(given: int | Size) -> Size:
    """Height and width of what a spec, or a bundle of an earlier version, says."""
    return (given, given) if isinstance(given, int) else given


def as_given(size: Size) -> int | list[int]:
    """What a spec says for a size: the other way of `size_of`."""
    return size[0] if size[0] == size[1] else list(size)


def show_size(size: Size) -> str:
    """One number for a square, else height x width."""
    height, width = size
    return str(height) if height == width else f"{height} x {width} (height x width)"
