"""Large pictures cut into tiles, and COCO files about them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferflow.store import write_atomic

Edges = tuple[float, float, float, float]
"""x_min, y_min, x_max, y_max in pixels."""


@dataclass(frozen=True)
class Tile:
    """A square part of a picture.

    Attributes:
        left: First column.
        top: First row.
        side: Pixels.
    """

    left: int
    top: int
    side: int

    def cut_box(self, box: Edges, min_visible: float) -> Edges | None:
        """Part of a box inside the tile, in the tile's pixels; `None` if too little of its area is left."""
        x_min, y_min = max(box[0] - self.left, 0.0), max(box[1] - self.top, 0.0)
        x_max = min(box[2] - self.left, float(self.side))
        y_max = min(box[3] - self.top, float(self.side))
        if x_max <= x_min or y_max <= y_min:
            return None
        whole = (box[2] - box[0]) * (box[3] - box[1])
        visible = (x_max - x_min) * (y_max - y_min) / whole
        return (x_min, y_min, x_max, y_max) if visible >= min_visible else None


def cover(width: int, height: int, side: int) -> Iterator[Tile]:
    """Tiles of full size that cover a picture; those of one row share their overlap evenly."""
    for top in _starts(height, side):
        for left in _starts(width, side):
            yield Tile(left, top, side)


def _starts(extent: int, side: int) -> list[int]:
    count = -(-extent // side)
    if count == 1:
        return [0]
    return [round(number * (extent - side) / (count - 1)) for number in range(count)]


class CocoWriter:
    """Collects images and boxes of one COCO file."""

    def __init__(self, categories: Sequence[str]) -> None:
        self._categories = [{"id": i, "name": name} for i, name in enumerate(categories, start=1)]
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add_image(self, file_name: str, side: int, photo: str) -> None:
        """Add an image; the boxes that follow are on it."""
        number = len(self._images) + 1
        self._images.append(
            {"id": number, "file_name": file_name, "width": side, "height": side, "photo": photo}
        )

    def add_box(self, box: Edges, runs: list[int] | None = None) -> None:
        """Add an object of the first category, with its mask as run lengths if there is one."""
        x_min, y_min, x_max, y_max = box
        width, height = x_max - x_min, y_max - y_min
        image = self._images[-1]
        annotation: dict[str, Any] = {
            "id": len(self._annotations) + 1,
            "image_id": image["id"],
            "category_id": 1,
            "bbox": [x_min, y_min, width, height],
            "area": width * height,
            "iscrowd": 0,
        }
        if runs is not None:
            annotation["segmentation"] = {"size": [image["height"], image["width"]], "counts": runs}
            annotation["area"] = sum(runs[1::2])
        self._annotations.append(annotation)

    def write(self, file: Path) -> None:
        """Write the COCO file."""
        whole = {"images": self._images, "annotations": self._annotations, "categories": self._categories}
        write_atomic(file, json.dumps(whole))
