"""Images with words beside them: what a task shows of its predictions, and a report draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from transferflow.evaluation.statistics.bootstrap import FloatArray

ImageArray = npt.NDArray[np.uint8]
"""Height x width x 3 (RGB) or height x width (gray)."""

T = TypeVar("T")

Choice = Literal["worst", "spread"]
"""Which images are shown: the worst first, leaving out those without a mistake, or some from all over the
split, good and bad alike."""


@dataclass(frozen=True)
class Panel:
    """One image with a label under it, such as `truth` or `prediction`."""

    image: ImageArray
    label: str = ""


@dataclass(frozen=True)
class Picture:
    """One or more panels of the same image, and what to know about it.

    Attributes:
        panels: Shown side by side.
        title: Bold line: `cat, taken for dog`.
        lines: Small lines under it: the image's id, probabilities.
        image_id: Record id of the image; empty when it is of no record.
    """

    panels: tuple[Panel, ...]
    title: str = ""
    lines: tuple[str, ...] = ()
    image_id: str = ""


def pick_cases(choice: Choice, rightness: FloatArray, limit: int) -> list[int]:
    """Numbers of at most `limit` images to show.

    Args:
        choice: The worst first, or some from all over.
        rightness: How right each image's answer is, on any scale; `inf` where there is no mistake.
        limit: Most that are shown.
    """
    if choice == "spread":
        return pick_evenly(range(len(rightness)), limit)
    # Of equally wrong ones the first comes first.
    return [int(n) for n in np.argsort(rightness, kind="stable") if np.isfinite(rightness[n])][:limit]


def pick_evenly(items: Sequence[T], limit: int) -> list[T]:
    """At most `limit` of the items, evenly spaced, in their order."""
    count = min(limit, len(items))
    return [items[number * len(items) // count] for number in range(count)]
