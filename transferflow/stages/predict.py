"""Prediction on new images with a bundle, through the bundle's own eval transform."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from transferflow.data.batch import Batch
from transferflow.data.decode import decode_image
from transferflow.errors import DataError, RegistryError
from transferflow.registry.base import parse_reference
from transferflow.registry.mlflow_registry import MlflowRegistry
from transferflow.stages.context import RunContext
from transferflow.tasks.base import PredictionInputs
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import DESCRIPTION, Bundle, load_bundle
from transferflow.training.device import pick_device

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dcm"})
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


def find_bundle(model: str, context: RunContext) -> Path:
    """Resolve a bundle folder, `NAME`, `NAME@ALIAS` or `NAME/VERSION` to a bundle folder.

    Raises:
        RegistryError: If it is none of these.
    """
    folder = Path(model)
    if (folder / DESCRIPTION).is_file():
        return folder
    registry = MlflowRegistry(context.home, context.tracking_uri)
    try:
        return registry.bundle(registry.find(*parse_reference(model)))
    except RegistryError as error:
        if not folder.is_dir():
            raise
        # A folder may well have the name of a model; only one that is no model either is a mistake.
        raise RegistryError(
            "the folder is no model bundle, and no model has its name",
            where=model,
            allowed=f"a folder with {DESCRIPTION}, or a model's name",
        ) from error


def open_model(model: str, context: RunContext) -> Bundle:
    """Load the model that `find_bundle` resolves, on the best device there is."""
    return load_bundle(find_bundle(model, context), pick_device("auto"))


def list_images(paths: Sequence[Path]) -> list[Path]:
    """Files as they are given, and the image files in folders, sorted.

    Raises:
        DataError: If a path does not exist, or there are no images at all.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        elif path.exists():
            found.append(path)
        else:
            raise DataError("no such file or folder", where=str(path))
    if not found:
        raise DataError(
            "no images in the given folders",
            where=", ".join(map(str, paths)),
            allowed=", ".join(sorted(IMAGE_SUFFIXES)),
        )
    return found


def predict_images(bundle: Bundle, images: Iterable[Path], folder: Path) -> Predictions:
    """Predict on image files; unreadable ones are listed, not raised.

    Args:
        bundle: The model.
        images: Files.
        folder: Where masks go.
    """
    reader = _Reader(bundle)
    inputs = PredictionInputs(reader.batches(images), reader.sizes, bundle.transform, bundle.classes, folder)
    table = build_task(bundle.spec.task).predict(bundle.spec, bundle.model, inputs)
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
        try:
            image = decode_image(path, self._transform.channels, self._transform.intensity)
        except DataError as error:
            self.failures.append(Failure(str(path), error.problems[0].what))
            return None
        self.sizes[str(path)] = (image.shape[1], image.shape[0])
        return self._transform(image)
