"""Slices of the test images: by a column of the table, by group, or by the size of the image."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from transferflow.limits import MAX_NAMES
from transferflow.spec.sections.base import Count, Fraction, Number, Positive, Section, Text

OwnSlice = Literal["group", "image_size"]
"""What every format can be sliced by; any other name is a column."""
OWN_SLICES: tuple[OwnSlice, ...] = get_args(OwnSlice)


def _ascending(bins: tuple[float, ...]) -> tuple[float, ...]:
    if any(low >= high for low, high in pairwise(bins)):
        raise ValueError(f"each must be above the one before it, found {', '.join(map('{:g}'.format, bins))}")
    return bins


class Slices(Section):
    """One way to slice the test images; every metric is measured on each slice by itself."""

    by: Text
    """A column of the table (of `metadata.csv` in formats without one, an entry of COCO's images), `group`,
    or `image_size`: the longer side in pixels."""
    bins: (
        Annotated[tuple[Number, ...], Field(min_length=1, max_length=MAX_NAMES), AfterValidator(_ascending)]
        | None
    ) = None
    """Borders between slices of a column of numbers, such as `[40, 60]`; `image_size` has some of its own."""
    min_images: Count = 10
    """Slices of fewer test images are shown, but are neither the worst one nor decided on."""


class SliceBound(Section):
    """What every slice must meet."""

    by: Text | None = None
    """Of which `evaluation.slices`; left out: of all of them."""
    metric: Text | None = None
    """Metric; left out: the gate's."""
    minimum: Fraction | None = None
    """Worst value that a slice may have (for `ece`: largest)."""
    maximum: Positive | None = None
    """Largest error that a slice may have, for metrics in the unit of the data (`mae`, `rmse`)."""
