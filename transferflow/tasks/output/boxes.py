"""Boxes in images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from transferflow.data.records import Box
from transferflow.evaluation.pictures import ImageArray
from transferflow.tasks.answers import BoxPrediction, Prediction
from transferflow.tasks.base import ImagePredictions, OutputRow
from transferflow.tasks.rendering.drawing import add_legend, draw_boxes
from transferflow.tasks.tiling import TileBoxes, TilePredictions, edge_margin, merge_tile_boxes

CORNERS = ("x_min", "y_min", "x_max", "y_max")
BOX_COLUMNS = ("label", "score", *CORNERS)


class BoxOutput:
    """A row per box.

    Args:
        nms_threshold: Overlap (IoU) above which one of two boxes of a class goes, where tiles meet.
    """

    columns = ("image", *BOX_COLUMNS)

    def __init__(self, nms_threshold: float) -> None:
        self.placed = PlacedBoxes(nms_threshold)

    def answers(self, found: ImagePredictions) -> list[Prediction]:
        """The boxes of each image, the surest first."""
        return [
            _boxes_of(image, sorted(mine, key=lambda row: -row["score"]), found.sizes[image])
            for image, mine in _by_image(found).items()
        ]

    def rows(self, found: ImagePredictions) -> list[OutputRow]:
        """One row per box; an image without boxes has one, whose values but the image are `None`."""
        return [
            {"image": image, **{name: row[name] for name in BOX_COLUMNS}}
            for image, mine in _by_image(found).items()
            for row in mine or [dict.fromkeys(BOX_COLUMNS)]
        ]

    def cells(self, row: OutputRow, top: int) -> tuple[str, str, str]:
        """Label, score and corners."""
        if row["label"] is None:
            return "(none)", "", ""
        return row["label"], f"{row['score']:.3f}", " ".join(f"{row[corner]:.0f}" for corner in CORNERS)

    def note(self, min_score: float) -> str:
        """Which boxes are left out."""
        return f"boxes with a score of {min_score:.2f} or more (--min-score)"


def _by_image(found: ImagePredictions) -> dict[str, list[dict[str, Any]]]:
    by_image: dict[str, list[dict[str, Any]]] = {image: [] for image in found.sizes}
    for row in found.table.to_pylist():
        by_image[row["id"]].append(row)
    return by_image


def _boxes_of(image: str, rows: Sequence[dict[str, Any]], size: tuple[int, int]) -> BoxPrediction:
    corners = np.array([[row[corner] for corner in CORNERS] for row in rows], np.float32)
    scores = np.array([row["score"] for row in rows], np.float32)
    return BoxPrediction(image, size, corners.reshape(-1, 4), scores, tuple(row["label"] for row in rows))


class PlacedBoxes:
    """Boxes over images, in COCO and in tiles."""

    def __init__(self, nms_threshold: float) -> None:
        self._nms_threshold = nms_threshold

    def annotations(self, found: ImagePredictions) -> Iterator[dict[str, Any]]:
        """A COCO annotation with a score per box."""
        numbers = {image: number for number, image in enumerate(found.sizes, 1)}
        for row in found.table.to_pylist():
            width, height = row["x_max"] - row["x_min"], row["y_max"] - row["y_min"]
            yield {
                "image_id": numbers[row["id"]],
                "category_id": found.classes.index(row["label"]) + 1,
                "bbox": [round(row["x_min"], 2), round(row["y_min"], 2), round(width, 2), round(height, 2)],
                "area": round(width * height, 2),
                "score": round(row["score"], 5),
                "iscrowd": 0,
            }

    def draw(self, image: ImageArray, rows: Sequence[OutputRow], classes: Sequence[str]) -> ImageArray:
        """Boxes with their class and score; several classes get a legend."""
        found = [row for row in rows if row["label"] is not None]
        boxes = [Box(**{name: row[name] for name in (*CORNERS, "label")}) for row in found]
        drawn = draw_boxes(image, boxes, classes, [row["score"] for row in found])
        shown = {classes.index(box.label) for box in boxes}
        return add_legend(drawn, classes, shown) if len(classes) > 1 else drawn

    def merge_tiles(self, found: TilePredictions, image: str, folder: Path) -> pa.Table:
        """Keep one of the boxes that show the same object."""
        numbers = {label: index for index, label in enumerate(found.classes)}
        by_tile: dict[str, list[dict[str, Any]]] = {}
        for row in found.table.to_pylist():
            by_tile.setdefault(row["id"], []).append(row)
        parts = [
            TileBoxes(
                found.tiles[int(tile)],
                np.array([[row[corner] for corner in CORNERS] for row in rows], np.float32),
                np.array([row["score"] for row in rows], np.float32),
                np.array([numbers[row["label"]] for row in rows], np.int64),
            )
            for tile, rows in by_tile.items()
        ]
        if not parts:
            return found.table
        margin = edge_margin(found.tiles[0], found.model_size)
        boxes, scores, labels = merge_tile_boxes(parts, *found.size, self._nms_threshold, margin)
        columns = {
            "id": [image] * len(boxes),
            "label": [found.classes[int(label)] for label in labels],
            "score": scores,
            **{corner: boxes[:, place] for place, corner in enumerate(CORNERS)},
        }
        return pa.table(columns, schema=found.table.schema)
