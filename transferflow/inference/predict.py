"""Prediction on new images with a bundle, through the bundle's own eval transform."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from transferflow.data.files.decode import decode_image
from transferflow.data.files.geometry import Pixels
from transferflow.data.files.paths import is_unicode
from transferflow.data.loading.batch import Batch
from transferflow.data.transforms.evaluation import EvalTransform
from transferflow.errors import DataError
from transferflow.tasks.base import PredictionInputs
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import Bundle

BATCH = 32


@dataclass(frozen=True)
class Failure:
    """An image that could not be read."""

    path: str
    reason: str


@dataclass(frozen=True)
class Predictions:
    """Predictions on files.

    Attributes:
        table: As the task's `predict` returns it; `id` is the path as it was given.
        sizes: Width and height of each image in pixels, by path.
        failures: Images that could not be read.
    """

    table: Any
    sizes: dict[str, tuple[int, int]]
    failures: tuple[Failure, ...]


def predict_images(bundle: Bundle, images: Iterable[Path], folder: Path) -> Predictions:
    """Predict on image files; unreadable ones are listed, not raised.

    Args:
        bundle: The model.
        images: Files.
        folder: Where masks go.
    """
    reader = _Reader(bundle)
    inputs = PredictionInputs(reader.batches(images), reader.sizes, bundle.transform, bundle.classes, folder)
    table = build_task(bundle.spec).predict(bundle.model, inputs)
    return Predictions(table, reader.sizes, tuple(reader.failures))


def stack_batch(images: Sequence[torch.Tensor], ids: Sequence[str]) -> Batch:
    """Images of one size as a batch without targets."""
    return Batch(torch.stack(list(images)), torch.empty(0), tuple(ids))


class _Reader:
    """Decodes files into batches, and notes sizes and failures on the way."""

    def __init__(self, bundle: Bundle) -> None:
        self._transform = bundle.transform
        self.sizes: dict[str, tuple[int, int]] = {}
        self.failures: list[Failure] = []

    def batches(self, images: Iterable[Path]) -> Iterator[Batch]:
        ids: list[str] = []
        tensors: list[torch.Tensor] = []
        for path in images:
            tensor = self._read(path)
            if tensor is not None:
                ids.append(str(path))
                tensors.append(tensor)
            if len(ids) == BATCH:
                yield stack_batch(tensors, ids)
                ids, tensors = [], []
        if ids:
            yield stack_batch(tensors, ids)

    def _read(self, path: Path) -> torch.Tensor | None:
        image = read_image(self._transform, path)
        if isinstance(image, Failure):
            self.failures.append(image)
            return None
        self.sizes[str(path)] = (image.shape[1], image.shape[0])
        return self._transform(image)


def read_image(transform: EvalTransform, path: Path) -> Pixels | Failure:
    """Decode an image as the model's transform wants it, or say why it can't be read."""
    if not is_unicode(str(path)):
        return Failure(str(path), "the name is not UTF-8")
    try:
        return decode_image(path, transform.channels, transform.intensity)
    except DataError as error:
        return Failure(str(path), error.problems[0].what)
