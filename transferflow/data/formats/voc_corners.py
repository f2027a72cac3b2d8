"""Boxes of Pascal VOC whose second pair of numbers is a width and a height, and no far corner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transferflow.data.records import Box, Finding


class FarCorners:
    """Counts the boxes of all files that can't be corners, and those that can be a corner and a size."""

    def __init__(self) -> None:
        self._total = self._sizes = 0
        self._inverted: list[str] = []

    def count(self, boxes: Sequence[Box], frame: tuple[int, int] | None, file: str, first: float) -> None:
        """Count the boxes of one file.

        Args:
            boxes: As corners, from 0.
            frame: Width and height of the annotated image.
            file: Their file below the root.
            first: What was taken off the near corner: 1 where coordinates count from 1.
        """
        for box in boxes:
            self._total += 1
            if box.x_max < box.x_min or box.y_max < box.y_min:
                self._inverted.append(f"{file}:{box.line}")
            width, height = frame or (0, 0)  # unknown: nothing fits
            right, bottom = box.x_min + first + box.x_max, box.y_min + first + box.y_max
            self._sizes += min(box.x_max, box.y_max) > 0 and right <= width + 1 and bottom <= height + 1

    def findings(self, allowed: float) -> Iterator[Finding]:
        """An error where all boxes fit as sizes, and more than `allowed` of them can't be corners."""
        count = len(self._inverted)
        if count > allowed * self._total and self._sizes == self._total:
            reason = (
                f"{count} of {self._total} boxes end before they begin, and all fit as a corner with width "
                "and height: xmax and ymax are the far corner, so write xmin + width and ymin + height there"
            )
            yield Finding("box_sizes", "error", self._inverted[0], reason)
