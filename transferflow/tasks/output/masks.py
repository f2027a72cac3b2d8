"""A mask per image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from transferflow.evaluation.pictures import ImageArray
from transferflow.tasks.answers import MaskPrediction, Prediction
from transferflow.tasks.base import ImagePredictions, OutputRow
from transferflow.tasks.rendering.drawing import add_legend, draw_mask
from transferflow.tasks.rendering.mask_files import encode_runs, read_mask, write_mask
from transferflow.tasks.tiling import TilePredictions, merge_tile_masks


class MaskOutput:
    """A row per image: its mask, and the share of each class."""

    columns = ("image",)

    def __init__(self) -> None:
        self.placed = PlacedMasks()

    def answers(self, found: ImagePredictions) -> list[Prediction]:
        """The mask of each image."""
        return [_mask_of(row, found) for row in found.table.to_pylist()]

    def rows(self, found: ImagePredictions) -> list[OutputRow]:
        """One row per image: the mask's file, and the share of the pixels that each class has."""
        return [
            {
                "image": row["id"],
                "mask": str(found.folder / row["mask"]),
                "shares": dict(_mask_of(row, found).shares),
            }
            for row in found.table.to_pylist()
        ]

    def cells(self, row: OutputRow, top: int) -> tuple[str, str, str]:
        """The largest shares, and the mask's file."""
        ranked = sorted(row["shares"].items(), key=lambda pair: -pair[1])[:top]
        return ", ".join(f"{name} {share:.1%}" for name, share in ranked), "", row["mask"]

    def note(self, min_score: float) -> str:
        """Nothing: a mask has no score."""
        return ""


def _mask_of(row: dict[str, Any], found: ImagePredictions) -> MaskPrediction:
    return MaskPrediction(row["id"], read_mask(found.folder, row["mask"]), found.classes)


class PlacedMasks:
    """Masks over images, in COCO and in tiles."""

    def annotations(self, found: ImagePredictions) -> Iterator[dict[str, Any]]:
        """A COCO annotation (uncompressed RLE) per image and class."""
        numbers = {image: number for number, image in enumerate(found.sizes, 1)}
        for row in found.table.to_pylist():
            mask = read_mask(found.folder, row["mask"])
            for number in range(len(found.classes)):
                chosen = mask == number
                if not chosen.any():
                    continue
                rows, columns = chosen.any(1).nonzero()[0], chosen.any(0).nonzero()[0]
                yield {
                    "image_id": numbers[row["id"]],
                    "category_id": number + 1,
                    "segmentation": encode_runs(chosen),
                    "area": int(chosen.sum()),
                    "bbox": [
                        int(columns[0]),
                        int(rows[0]),
                        int(columns[-1] - columns[0] + 1),
                        int(rows[-1] - rows[0] + 1),
                    ],
                    "iscrowd": 0,
                }

    def draw(self, image: ImageArray, rows: Sequence[OutputRow], classes: Sequence[str]) -> ImageArray:
        """The mask in colours; the first class, the background, is not drawn; several others get a legend."""
        file = Path(rows[0]["mask"])
        mask = read_mask(file.parent, file.name)
        drawn = draw_mask(image, mask)
        return add_legend(drawn, classes, set(np.unique(mask).tolist()) - {0}) if len(classes) > 2 else drawn

    def merge_tiles(self, found: TilePredictions, image: str, folder: Path) -> pa.Table:
        """Join the tiles' masks; the whole one is written to `folder`."""
        masks = [
            (found.tiles[int(row["id"])], read_mask(found.folder, row["mask"]))
            for row in found.table.to_pylist()
        ]
        file = write_mask(folder, image, merge_tile_masks(masks, *found.size))
        return pa.table({"id": [image], "mask": [file]}, schema=found.table.schema)
