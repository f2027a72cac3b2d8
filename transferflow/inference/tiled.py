"""Prediction on images that are larger than the model's input: in tiles that overlap, merged again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from transferflow.data.files.geometry import Pixels
from transferflow.data.loading.batch import Batch
from transferflow.errors import PlanError
from transferflow.inference.predict import BATCH, Failure, Predictions, read_image, stack_batch
from transferflow.inference.tiling import (
    Tile,
    TileBoxes,
    decide_tiles,
    edge_margin,
    merge_tile_boxes,
    merge_tile_masks,
)
from transferflow.spec.sections.head import DetectionHead
from transferflow.tasks.base import PredictionInputs
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import Bundle
from transferflow.tasks.rendering.mask_files import read_mask, write_mask

OVERLAP = 0.25
"""Share of a tile's side that neighbours have in common at least."""


def predict_tiled(bundle: Bundle, images: Iterable[Path], folder: Path, side: int) -> Predictions:
    """Predict each image in tiles of `side` pixels; boxes are merged by NMS, masks tile by tile.

    Raises:
        PlanError: If the model is a classifier.
    """
    kind = bundle.spec.task.kind
    if kind == "classification":
        raise PlanError("an image has one label as a whole: --tile is for detection and segmentation")
    sizes: dict[str, tuple[int, int]] = {}
    failures: list[Failure] = []
    tables: list[pa.Table] = []
    for path in images:
        name = str(path)
        image = read_image(bundle.transform, path)
        if isinstance(image, Failure):
            failures.append(image)
            continue
        sizes[name] = (image.shape[1], image.shape[0])
        tiles = decide_tiles(image.shape[1], image.shape[0], side, round(side * OVERLAP))
        with TemporaryDirectory() as scratch:
            found = _predict_tiles(bundle, image, tiles, Path(scratch))
            if kind == "detection":
                tables.append(_merged_boxes(bundle, found, tiles, name, sizes[name]))
            else:
                masks = [
                    (tiles[int(row["id"])], read_mask(Path(scratch), row["mask"]))
                    for row in found.to_pylist()
                ]
                file = write_mask(folder, name, merge_tile_masks(masks, *sizes[name]))
                tables.append(pa.table({"id": [name], "mask": [file]}, schema=found.schema))
    return Predictions(pa.concat_tables(tables) if tables else pa.table({"id": []}), sizes, tuple(failures))


def _predict_tiles(bundle: Bundle, image: Pixels, tiles: Sequence[Tile], folder: Path) -> pa.Table:
    sizes = {str(number): (tile.width, tile.height) for number, tile in enumerate(tiles)}

    def batches() -> Iterator[Batch]:
        for start in range(0, len(tiles), BATCH):
            part = tiles[start : start + BATCH]
            tensors = [bundle.transform(_cut(image, tile)) for tile in part]
            yield stack_batch(tensors, [str(start + offset) for offset in range(len(part))])

    inputs = PredictionInputs(batches(), sizes, bundle.transform, bundle.classes, folder)
    return build_task(bundle.spec.task).predict(bundle.spec, bundle.model, inputs)


def _cut(image: Pixels, tile: Tile) -> Pixels:
    return np.ascontiguousarray(image[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width])


def _merged_boxes(
    bundle: Bundle,
    found: pa.Table,
    tiles: Sequence[Tile],
    name: str,
    size: tuple[int, int],
) -> pa.Table:
    head = bundle.spec.head
    threshold = head.nms_threshold if isinstance(head, DetectionHead) else 0.5
    number = {label: index for index, label in enumerate(bundle.classes)}
    by_tile: dict[str, list[dict[str, object]]] = {}
    for row in found.to_pylist():
        by_tile.setdefault(row["id"], []).append(row)
    parts = [
        TileBoxes(
            tiles[int(tile)],
            np.array([[r[side] for side in ("x_min", "y_min", "x_max", "y_max")] for r in rows], np.float32),
            np.array([r["score"] for r in rows], np.float32),
            np.array([number[str(r["label"])] for r in rows], np.int64),
        )
        for tile, rows in by_tile.items()
    ]
    if not parts:
        return found
    boxes, scores, labels = merge_tile_boxes(
        parts, *size, threshold, edge_margin(tiles[0], bundle.transform.image_size)
    )
    columns = {
        "id": [name] * len(boxes),
        "label": [bundle.classes[int(label)] for label in labels],
        "score": scores,
        **{side: boxes[:, place] for place, side in enumerate(("x_min", "y_min", "x_max", "y_max"))},
    }
    return pa.table(columns, schema=found.schema)
