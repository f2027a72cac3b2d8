"""Prediction on new images with a bundle, through the bundle's own eval transform."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from transferflow.data.batch import Batch
from transferflow.data.decode import decode_image
from transferflow.data.geometry import Pixels
from transferflow.data.paths import IMAGE_SUFFIXES, is_unicode
from transferflow.data.transforms import EvalTransform
from transferflow.errors import DataError, RegistryError, StoreError
from transferflow.registry.base import parse_reference
from transferflow.registry.mlflow_registry import MlflowRegistry
from transferflow.stages.context import RunContext
from transferflow.tasks.base import PredictionInputs
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import DESCRIPTION, Bundle, load_bundle
from transferflow.training.device import pick_device

SUFFIXES = IMAGE_SUFFIXES | {".dcm"}
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


def list_images(paths: Sequence[Path], output: Path) -> list[Path]:
    """Files as they are given, and the image files in folders, sorted; each file once.

    Hidden files and folders are left out, and so is what lies below `output`: masks and overlays of an
    earlier run are no images to look at.

    Args:
        paths: Files and folders.
        output: Folder for masks and overlays.

    Raises:
        DataError: If a path does not exist, or there are no images at all.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise DataError("no such file or folder", where=str(path))
        for image in _images_below(path, output) if path.is_dir() else [path]:
            found.setdefault(os.path.realpath(image), image)
    if not found:
        raise DataError(
            "no images in the given folders",
            where=", ".join(map(str, paths)),
            allowed=", ".join(sorted(SUFFIXES)),
        )
    return list(found.values())


def _images_below(folder: Path, output: Path) -> list[Path]:
    own, above = output.resolve(), folder.resolve()
    skips = own != above and own.is_relative_to(above)
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.is_dir()
        and not (skips and Path(os.path.realpath(path)).is_relative_to(own))
    )


def create_output(folder: Path) -> None:
    """Create the folder for masks and overlays.

    Raises:
        StoreError: If it can't be created, or not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = "" if os.access(folder, os.W_OK | os.X_OK) else "no right to write"
    except OSError as error:
        found = "a file" if isinstance(error, FileExistsError) else str(error.strerror)
    if found:
        raise StoreError(
            "masks and overlays can't be written there",
            where=str(folder),
            found=found,
            allowed="a folder that can be written to",
            hint="name another one with --output",
        )


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
