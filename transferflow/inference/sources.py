"""What may be given to a model as images: files, their content, arrays, Pillow images, tensors, batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import torch
from PIL import Image

from transferflow.data.files.decode import decode_image, decode_opened
from transferflow.data.files.geometry import Pixels
from transferflow.data.files.paths import is_unicode
from transferflow.data.files.pixels import UnsuitableImageError, Values, raw_image, to_pixels
from transferflow.data.transforms.evaluation import EvalTransform
from transferflow.errors import DataError
from transferflow.inference.image_files import list_images

Source = Path | bytes | Values | Image.Image | torch.Tensor
"""One image; see `Model.predict` for what each form means."""
Images = str | Source | Iterable[str | Source]
"""An image, a folder, or any number of them."""
_SINGLE = (str, Path, bytes, np.ndarray, Image.Image, torch.Tensor)
_ONE, _BATCH = (2, 3), 4
"""Axes of an array that is one image, and of one that is a batch."""


@dataclass(frozen=True)
class NamedImage:
    """An image to predict on.

    Attributes:
        name: Which one it is, another one for each image of a call.
        source: Where its pixels come from.
    """

    name: str
    source: Source


@dataclass(frozen=True)
class Failure:
    """An image that could not be read."""

    path: str
    reason: str


def flatten(images: Images) -> Iterator[tuple[str, Source]]:
    """Each image with a name for people: a file's path, or a number from 0 on.

    Raises:
        DataError: If something among them is no image.
    """
    number = 0
    for given in [images] if isinstance(images, _SINGLE) else images:
        for source in _parts(given, number):
            yield (str(source) if isinstance(source, Path) else f"image {number}"), source
            number += 1


def _parts(given: object, number: int) -> Iterator[Source]:
    match given:
        case str() | Path():
            path = Path(given)
            yield from list_images([path], path) if path.is_dir() else [path]
        case np.ndarray() | torch.Tensor() if given.ndim == _BATCH:
            yield from given
        case bytes() | Image.Image():
            yield given
        case np.ndarray() | torch.Tensor() if given.ndim in _ONE:
            yield given
        case _:
            raise DataError(
                "this is no image", where=f"image {number}", found=_describe(given), allowed=FORMS
            )


FORMS = (
    "a path, the bytes of a file, a Pillow image, an array H x W or H x W x C, a tensor C x H x W, "
    "a batch of either with a first axis more, or a list of these"
)


def _describe(given: object) -> str:
    shape = getattr(given, "shape", None)
    return type(given).__name__ + (f" of shape {tuple(shape)}" if shape is not None else "")


def read_image(transform: EvalTransform, image: NamedImage) -> Pixels | Failure:
    """Pixels of an image as the model's transform wants them, or why it can't be read."""
    try:
        return _read(transform, image.source)
    except DataError as error:
        return Failure(image.name, error.problems[0].what)
    except UnsuitableImageError as error:
        return Failure(image.name, str(error))


def _read(transform: EvalTransform, source: Source) -> Pixels:
    wanted = transform.channels, transform.intensity
    match source:
        case Path():
            if not is_unicode(str(source)):
                raise DataError("the name is not UTF-8")
            return decode_image(source, *wanted)
        case bytes():
            # Readers of TIFF and DICOM want a file, and what a file gives is what training saw.
            with NamedTemporaryFile(prefix="transferflow-") as file:
                file.write(source)
                file.flush()
                return decode_image(Path(file.name), *wanted)
        case Image.Image():
            return decode_opened(source, *wanted)
        case torch.Tensor():
            return _from_array(_as_array(source), transform)
        case _:
            return _from_array(source, transform)


def _as_array(tensor: torch.Tensor) -> Values:
    values: Values = tensor.detach().cpu().numpy()
    return values if values.ndim == 2 else np.moveaxis(values, 0, -1)


def _from_array(values: Values, transform: EvalTransform) -> Pixels:
    if not values.size or values.dtype.kind not in "buif":
        raise UnsuitableImageError(f"an array of type {values.dtype} and shape {values.shape} is no image")
    if values.dtype.kind == "f" and transform.intensity.kind == "full_range":
        raise UnsuitableImageError(
            f"its values are floating point numbers ({values.dtype}), whose range nobody knows; "
            "give 0 to 255 as uint8: `(x * 255).round().astype('uint8')` where they are from 0 to 1"
        )
    return to_pixels(raw_image(values, colour=True), transform.channels, transform.intensity)
