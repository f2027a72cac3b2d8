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
from transferflow.inference.batches import BATCH, Answers, stack_batch
from transferflow.inference.sources import Failure, NamedImage, read_image
from transferflow.tasks.base import PredictionInputs, VisionTask
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import Bundle
from transferflow.tasks.tiling import OVERLAP, Tile, TilePredictions, decide_tiles, shape_tile


def predict_tiled(bundle: Bundle, images: Iterable[NamedImage], folder: Path, longer: int) -> Answers:
    """Predict each image in tiles whose longer side has so many pixels, and merge them as the task does.

    Raises:
        PlanError: If the answer is about the image as a whole.
    """
    task = build_task(bundle.spec)
    placed = task.output.placed
    if placed is None:
        raise PlanError("the answer is about an image as a whole: --tile is for detection and segmentation")
    model_size = bundle.transform.image_size
    window = shape_tile(longer, model_size)
    sizes: dict[str, tuple[int, int]] = {}
    failures: list[Failure] = []
    tables: list[pa.Table] = []
    for image in images:
        name, pixels = image.name, read_image(bundle.transform, image)
        if isinstance(pixels, Failure):
            failures.append(pixels)
            continue
        sizes[name] = (pixels.shape[1], pixels.shape[0])
        tiles = decide_tiles(*sizes[name], window, OVERLAP)
        with TemporaryDirectory() as scratch:
            table = _predict_tiles(task, bundle, pixels, tiles, Path(scratch))
            found = TilePredictions(table, tiles, sizes[name], bundle.classes, Path(scratch), model_size)
            tables.append(placed.merge_tiles(found, name, folder))
    return Answers(pa.concat_tables(tables) if tables else pa.table({"id": []}), sizes, tuple(failures))


def _predict_tiles(
    task: VisionTask, bundle: Bundle, image: Pixels, tiles: Sequence[Tile], folder: Path
) -> pa.Table:
    sizes = {str(number): (tile.width, tile.height) for number, tile in enumerate(tiles)}

    def batches() -> Iterator[Batch]:
        for start in range(0, len(tiles), BATCH):
            part = tiles[start : start + BATCH]
            tensors = [bundle.transform(_cut(image, tile)) for tile in part]
            yield stack_batch(tensors, [str(start + offset) for offset in range(len(part))])

    inputs = PredictionInputs(batches(), sizes, bundle.transform, bundle.classes, folder)
    return task.predict(bundle.model, inputs)


def _cut(image: Pixels, tile: Tile) -> Pixels:
    return np.ascontiguousarray(image[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width])
