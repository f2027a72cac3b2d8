"""What the numbers of all boxes say of how they were written: as corners, as centres, or in another unit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from transferflow.data.files.boxes import FRACTIONS, ROUNDING, box_source
from transferflow.data.records import Box, Finding, Record, Severity

_MANY = 0.5
_LEAST = 10
"""Boxes below which nothing is said of most of them."""
_LEAST_ALL = 20
"""Boxes below which nothing is said of what all have in common by chance."""
_SAME = 0.01
"""Share of an area by which two are called the same."""
_OFTEN = 0.05
"""Share of the boxes above which leaving the image to one side alone is no slip."""
_TOGETHER = 0.5
"""Correlation of place and size, above which the size holds the place."""
_CORNER = 0.6
"""Share of width and height that no box reaches beyond where they are of a smaller image."""
_FLOAT = 1e-9
_MEANT = {
    True: "this format gives the centre and width and height",
    False: "this format gives a corner and width and height",
}
"""By whether the format gives centres."""
Array = NDArray[np.float64]
Judged = tuple[str, Severity, str]
"""Kind, severity and reason of a finding."""


@dataclass
class BoxLayout:
    """All boxes of a data set, as shares of the width and height of their images."""

    _first: Record | None = None
    _edges: list[tuple[float, float, float, float]] = field(default_factory=list)
    _pixels: list[tuple[float, float]] = field(default_factory=list)
    _areas: int = 0
    _corner_areas: int = 0

    def add(self, record: Record, box: Box, ends: tuple[float, float], size: tuple[int, int]) -> None:
        """Add a box.

        Args:
            record: Its image.
            box: The box, as the format has it.
            ends: Width and height of the image in the unit of the box.
            size: Width and height of the image in pixels.
        """
        self._first = self._first or record
        self._edges.append(
            (box.x_min / ends[0], box.y_min / ends[1], box.x_max / ends[0], box.y_max / ends[1])
        )
        self._pixels.append((1 / size[0], 1 / size[1]))
        self._areas += box.area is not None
        self._corner_areas += _is_area_of_corners(box)

    def findings(self, allowed: float) -> Iterator[Finding]:
        """Say what the boxes are, if they are not what the format says.

        Args:
            allowed: `data.max_bad_fraction`: a share of the boxes here.
        """
        if self._first is None:
            return
        if self._corner_areas > _MANY * self._areas:
            what = f"{self._corner_areas} of {self._areas} boxes have the `area` of two corners"
            judged: Judged | None = ("box_corners", "error", f"{what}: {_MEANT[False]}")
        else:
            has_areas = self._areas > _MANY * len(self._edges)
            is_centre = self._first.frame == FRACTIONS
            numbers = _Numbers(np.array(self._edges), ROUNDING * np.array(self._pixels), is_centre)
            judged = _judge_outside(numbers, allowed) or _judge_inside(numbers, has_areas)
        if judged is not None:
            kind, severity, reason = judged
            yield Finding(kind, severity, box_source(self._first, self._first.boxes[0]), reason)


def _is_area_of_corners(box: Box) -> bool:
    """Whether the area that the file says is that of two corners, and not of a corner and a size."""
    if box.area is None:
        return False
    width, height = box.x_max - box.x_min, box.y_max - box.y_min
    as_corners = (width - box.x_min) * (height - box.y_min)
    is_own = math.isclose(box.area, width * height, rel_tol=_SAME)
    return width > box.x_min and not is_own and math.isclose(box.area, as_corners, rel_tol=_SAME)


@dataclass(frozen=True)
class _Numbers:
    """Boxes as shares of their images.

    Attributes:
        edges: Left, top, right and bottom, read as the format says: N x 4.
        slack: What counts as rounding, across and down: N x 2.
        is_centre: Whether the format gives centres, and not upper left corners.
    """

    edges: Array
    slack: Array
    is_centre: bool

    @property
    def _sizes(self) -> Array:
        return self.edges[:, 2:] - self.edges[:, :2]

    @property
    def _places(self) -> Array:
        """The first two numbers of the file."""
        return self.edges[:, :2] + self._sizes / 2 if self.is_centre else self.edges[:, :2]

    @property
    def _before(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.any(self.edges[:, :2] < -self.slack, axis=1)
        return found

    @property
    def _behind(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.any(self.edges[:, 2:] > 1 + self.slack, axis=1)
        return found

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Which boxes leave their image."""
        return self._before | self._behind

    @property
    def fit_as_corners(self) -> bool:
        """Whether width and height can be the second corner, of every box."""
        return bool(np.all((self._places < self._sizes) & (self._sizes <= 1 + _FLOAT)))

    @property
    def fit_otherwise(self) -> bool:
        """Whether all boxes are in their images once a corner is read as the centre, or a centre as a corner.

        Boxes that are right leave to both sides, and some begin at the image's edge: those would leave then.
        """
        half = self._sizes / 2
        starts = self._places if self.is_centre else self._places - half
        fits = np.all((starts >= -self.slack) & (starts + self._sizes <= 1 + self.slack))
        strays = self._behind if self.is_centre else self._before
        return len(self.edges) >= _LEAST_ALL and bool(fits) and not strays.any()

    @property
    def are_like_corners(self) -> bool:
        """Whether all fit as corners, and the size grows with the place, across and down.

        The further right a box begins, the less room there is for it: its width falls with its place, if
        anything. A right edge grows with the left one.
        """
        if len(self.edges) < _LEAST_ALL or not self.fit_as_corners:
            return False
        pairs = zip(self._places.T, self._sizes.T, strict=True)
        return all(_correlation(place, size) > _TOGETHER for place, size in pairs)

    @property
    def reach(self) -> tuple[float, float] | None:
        """Share of width and height that the boxes reach, where they stay in the upper left."""
        across, down = (float(most) for most in self.edges[:, 2:].max(axis=0))
        few = len(self.edges) < _LEAST_ALL
        return None if few or max(across, down) > _CORNER else (across, down)


def _judge_outside(numbers: _Numbers, allowed: float) -> Judged | None:
    """Why more boxes leave their image than slips would."""
    total, outside = len(numbers.edges), int(numbers.outside.sum())
    leave, meant = f"{outside} of {total} boxes leave their image", _MEANT[numbers.is_centre]
    if outside > max(_MANY, allowed) * total:
        if numbers.fit_as_corners:
            return "box_corners", "error", f"{leave}, and all fit as two corners: {meant}"
        other = "are they of images of another size, in another unit or in another order?"
        return ("boxes_leave", "error", f"{leave}: {other}") if total >= _LEAST else None
    if outside > max(_OFTEN, allowed) * total and numbers.fit_otherwise:
        other = "a corner" if numbers.is_centre else "the centre"
        reason = f"{leave}, all to the same side, and fit as {other} and width and height: {meant}"
        return "box_centres", "error", reason
    return None


def _judge_inside(numbers: _Numbers, has_areas: bool) -> Judged | None:
    """What is odd about boxes that stay in their images; areas would have told corners."""
    total = len(numbers.edges)
    if not has_areas and numbers.are_like_corners:
        reason = (
            f"all {total} boxes fit as two corners, too, and are the larger the further right and down they "
            f"begin, as two corners would be: {_MEANT[numbers.is_centre]}"
        )
        return "box_corners", "warning", reason
    if (reach := numbers.reach) is not None:
        reason = (
            f"no box of {total} reaches beyond {reach[0]:.0%} of the width and {reach[1]:.0%} of the height "
            "of its image: are they of smaller images, or in another unit, such as percent?"
        )
        return "upper_left", "warning", reason
    return None


def _correlation(one: Array, other: Array) -> float:
    """Pearson's r; 0 where a side does not vary."""
    if not one.std() or not other.std():
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
