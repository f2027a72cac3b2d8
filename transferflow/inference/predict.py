"""Prediction on new images with a bundle, through the bundle's own eval transform.

The command line, the library and the server all come through `predict_images`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from transferflow.data.files.geometry import Pixels
from transferflow.data.loading.batch import Batch
from transferflow.inference.batches import BATCH, Answers
from transferflow.inference.reading import read_ahead
from transferflow.inference.sources import Failure, NamedImage
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
        fitted: list[Pixels] = []
        for name, found in read_ahead(self._transform, images):
            if isinstance(found, Failure):
                self.failures.append(found)
                continue
            self.sizes[name] = found.size
            ids.append(name)
            fitted.append(found.pixels)
            if len(ids) == (1 if self._transform.keeps_shape else BATCH):
                yield self._batch(fitted, ids)
                ids, fitted = [], []
        if ids:
            yield self._batch(fitted, ids)

    def _batch(self, fitted: Sequence[Pixels], ids: Sequence[str]) -> Batch:
        sizes = [(image.shape[0], image.shape[1]) for image in fitted]
        images, _ = self._transform.batch(torch.from_numpy(np.stack(fitted)), sizes)
        return Batch(images, torch.empty(0), tuple(ids))
