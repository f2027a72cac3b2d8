"""Slices of the test images: which images are in each, what was measured on it, and which is the worst."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transferflow.evaluation.results import Slice
from transferflow.text import four_digits


@dataclass(frozen=True)
class Slicing:
    """Which slice each image is in.

    Attributes:
        by: What the images are sliced by.
        names: Names of the slices, in order.
        of_image: Number of each image's slice, in the manifest's order.
        min_images: Slices of fewer images are not judged.
    """

    by: str
    names: tuple[str, ...]
    of_image: tuple[int, ...]
    min_images: int

    def members(self) -> Iterator[tuple[str, list[int]]]:
        """Name of each slice, and the numbers of its images."""
        numbers: dict[int, list[int]] = {place: [] for place in range(len(self.names))}
        for number, place in enumerate(self.of_image):
            numbers[place].append(number)
        return zip(self.names, numbers.values(), strict=True)


def worst_slice(slices: Sequence[Slice], metric: str, *, lower_is_better: bool) -> Slice | None:
    """The slice that is worst in a metric, of those that have enough images; the first of equals.

    Returns:
        `None` where no such slice could be measured.
    """
    judged = [one for one in slices if one.judged and not math.isnan(one.metrics[metric].value)]
    sign = -1 if lower_is_better else 1
    return min(judged, key=lambda one: sign * one.metrics[metric].value, default=None)


def say_worst(by: str, slices: Sequence[Slice], metric: str, *, lower_is_better: bool) -> str:
    """Which slice is the worst in a metric, in a sentence without its full stop."""
    worst = worst_slice(slices, metric, lower_is_better=lower_is_better)
    if worst is None:
        return f"no slice by {by} has images enough for its {metric}"
    value = four_digits(worst.metrics[metric].value)
    return f"worst {metric} by {by}: {worst.name}, {value} on {worst.images:,} images"
