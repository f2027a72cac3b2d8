"""Prediction on new images with a bundle, through the bundle's own eval transform.

The command line, the library and the server all come through `predict_images`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import torch

from transferflow.data.loading.batch import Batch
from transferflow.inference.batches import BATCH, Answers, stack_batch
from transferflow.inference.sources import Failure, NamedImage, read_image
from transferflow.inference.tiled import predict_tiled
from transferflow.tasks.base import ImagePredictions, PredictionInputs
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import Bundle


@dataclass(frozen=True)
class Predictions:
    """Predictions on images.

    Attributes:
        found: The answers about the images that could be read.
        failures: Images that could not be read.
        min_score: Score below which boxes were left out, 0..1.
    """

    found: ImagePredictions
    failures: tuple[Failure, ...]
    min_score: float


def predict_images(
    bundle: Bundle,
    images: Iterable[NamedImage],
    folder: Path,
    *,
    tile: int | None = None,
    min_score: float | None = None,
) -> Predictions:
    """Predict on images; unreadable ones are listed, not raised.

    Args:
        bundle: The model.
        images: Each with a name of its own.
        folder: Where masks go.
        tile: Side in pixels of overlapping tiles, for large images; left out: each image as a whole.
        min_score: Leave out boxes below this score, 0..1; left out: the bundle's own.

    Raises:
        PlanError: If tiles are asked for, and the answer is about the image as a whole.
    """
    least = (bundle.min_score if min_score is None else min_score) or 0.0
    if tile is None:
        answers = _predict_whole(bundle, images, folder)
    else:
        answers = predict_tiled(bundle, images, folder, tile)
    found = ImagePredictions(_without_weak(answers.table, least), answers.sizes, bundle.classes, folder)
    return Predictions(found, answers.failures, least)


def _without_weak(table: pa.Table, min_score: float) -> pa.Table:
    return table.filter(pc.field("score") >= min_score) if "score" in table.column_names else table


def _predict_whole(bundle: Bundle, images: Iterable[NamedImage], folder: Path) -> Answers:
    reader = _Reader(bundle)
    inputs = PredictionInputs(reader.batches(images), reader.sizes, bundle.transform, bundle.classes, folder)
    table = build_task(bundle.spec).predict(bundle.model, inputs)
    return Answers(table, reader.sizes, tuple(reader.failures))


class _Reader:
    """Brings images into batches, and notes sizes and failures on the way."""

    def __init__(self, bundle: Bundle) -> None:
        self._transform = bundle.transform
        self.sizes: dict[str, tuple[int, int]] = {}
        self.failures: list[Failure] = []

    def batches(self, images: Iterable[NamedImage]) -> Iterator[Batch]:
        ids: list[str] = []
        tensors: list[torch.Tensor] = []
        for image in images:
            tensor = self._read(image)
            if tensor is not None:
                ids.append(image.name)
                tensors.append(tensor)
            if len(ids) == (1 if self._transform.keeps_shape else BATCH):
                yield stack_batch(tensors, ids)
                ids, tensors = [], []
        if ids:
            yield stack_batch(tensors, ids)

    def _read(self, image: NamedImage) -> torch.Tensor | None:
        pixels = read_image(self._transform, image)
        if isinstance(pixels, Failure):
            self.failures.append(pixels)
            return None
        self.sizes[image.name] = (pixels.shape[1], pixels.shape[0])
        return self._transform(pixels)
