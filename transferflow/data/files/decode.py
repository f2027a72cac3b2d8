"""From an image file to the uint8 array that the spec describes, or to a reason why not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from transferflow.data.files.dicom_pixels import DICOM_SUFFIXES, has_dicom_preamble, read_dicom
from transferflow.data.files.geometry import Pixels
from transferflow.data.files.images import (
    OtherKindError,
    open_image,
    read_orientation,
    refuse_other_kind,
)
from transferflow.data.files.pixels import (
    RawImage,
    UnsuitableImageError,
    Values,
    orient,
    raw_image,
    to_pixels,
)
from transferflow.data.files.room import ROOM, Claim, TooLargeError
from transferflow.data.files.tiff import has_tiff_header, read_tiff
from transferflow.errors import DataError, TransferflowError
from transferflow.spec.sections.intensity import FullRange, Intensity
from transferflow.store import open_regular

FULL_RANGE = FullRange()
EMPTY = "the file is empty"


def decode_image(path: Path, channels: int, intensity: Intensity = FULL_RANGE) -> Pixels:
    """Read an image as it is meant to be seen.

    JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC and DICOM; 1 to 32 bits; gray, RGB, palette, CMYK, with or
    without transparency (laid over white), and TIFF whose samples or pages are the bands. EXIF orientation
    is applied. Of an animation the first image counts.

    Args:
        path: The file.
        channels: Channels to return; see `pixels.to_pixels` for what is converted and what is refused.
        intensity: How values wider than 8 bits become 0..255.

    Returns:
        uint8, H x W x channels.

    Raises:
        DataError: If the file can't be read or is not what the spec asks for; the message says why.
        MissingDependencyError: If it is a DICOM file and pydicom is not installed.
    """
    with _in_our_words(str(path)), ROOM.claim() as claim:
        return to_pixels(_read(path, channels, claim), channels, intensity)


def decode_opened(image: Image.Image, channels: int, intensity: Intensity) -> Pixels:
    """Pixels of an image that somebody else opened with Pillow, turned as its EXIF data says.

    Raises:
        DataError: If it is damaged or not what the spec asks for; the message says why.
    """
    with _in_our_words("image"):
        image.load()  # Pillow turns a TIFF itself as it loads
        orientation = read_orientation(image)
        raw = _read_pillow(image)
        return to_pixels(replace(raw, values=orient(raw.values, orientation)), channels, intensity)


@contextmanager
def _in_our_words(where: str) -> Iterator[None]:
    """Turn whatever decoders raise into a `DataError`."""
    try:
        yield
    except TransferflowError:
        raise
    except (UnsuitableImageError, OtherKindError) as error:
        raise DataError(str(error), where=where) from error
    except UnidentifiedImageError as error:
        raise DataError("the file is not an image, or of an unknown kind", where=where) from error
    except TooLargeError as error:
        raise DataError(f"the image is too large: {error}", where=where) from error
    except MemoryError as error:
        raise DataError("the image does not fit into memory", where=where) from error
    except Exception as error:  # a damaged file makes decoders raise anything
        reason = str(error) or type(error).__name__
        raise DataError(f"the image is damaged: {reason}", where=where) from error


def stored_values(path: Path, channels: int) -> tuple[str, float, float]:
    """Type and extremes of a file's values before they become 8 bits, such as `uint16`, 0 and 4095.

    Raises:
        Exception: Anything, if the file is damaged or has gone.
    """
    with ROOM.claim() as claim:
        raw = _read(path, channels, claim)
        values = raw.values[..., :-1] if raw.alpha else raw.values
        return str(values.dtype), float(values.min()), float(values.max())


def _head(path: Path) -> bytes:
    try:
        with open_regular(path) as stream:
            head = stream.read(132)
    except OSError as error:
        raise DataError(f"the file can't be opened: {error.strerror or error}", where=str(path)) from error
    if not head:
        raise DataError(EMPTY, where=str(path))
    return head


def _read(path: Path, channels: int, claim: Claim) -> RawImage:
    head = _head(path)
    if not has_dicom_preamble(head):
        refuse_other_kind(head)
    if has_dicom_preamble(head) or path.suffix.lower() in DICOM_SUFFIXES:
        return read_dicom(path, claim)
    if has_tiff_header(head):
        raw = read_tiff(path, channels, claim)
        if raw is not None:
            return raw
    with open_image(path, claim) as image:
        stored, wide = read_orientation(image), _has_wide_colours(image)
        if wide:
            claim(image.width, image.height, 8)
        image.load()  # OpenCV returns what it has of a damaged file; Pillow tells
        left = read_orientation(image)  # Pillow turns a TIFF itself as it loads
        raw, orientation = (_read_with_opencv(path), stored) if wide else (_read_pillow(image), left)
    return replace(raw, values=orient(raw.values, orientation))


def _has_wide_colours(image: ImageFile.ImageFile) -> bool:
    # Pillow opens 16-bit RGB as 8 bits; its decoder's arguments, and a TIFF's tags, still tell.
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.mode in ("RGB", "RGBA") and max(image.tag_v2.get(258, (8,))) > 8
    return image.format == "PNG" and any("16B" in str(tile.args) for tile in image.tile)


def _read_with_opencv(path: Path) -> RawImage:
    import cv2

    values = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise DataError("the file can't be read", where=str(path))
    if values.ndim == 3:
        values = values[..., [2, 1, 0, 3][: values.shape[2]]]
    return raw_image(values, colour=True, alpha=values.ndim == 3 and values.shape[2] == 4)


def _read_pillow(image: Image.Image) -> RawImage:
    transparent = "transparency" in image.info
    match image.mode:
        case "1" | "L" | "RGB" if not transparent:
            return raw_image(_array(image), colour=True)
        case "I;16" | "I;16B" | "I;16L" | "I;16N":
            return raw_image(_array(image).astype(np.uint16))
        case "I" | "F":
            return raw_image(_array(image))
        case "1" | "L" | "LA" | "La":
            return raw_image(_array(image.convert("LA")), alpha=True)
        case "RGBA":
            return raw_image(_array(image), colour=True, alpha=True)
        case "P" | "PA" | "RGB" | "RGBa":
            alpha = transparent or image.mode in ("PA", "RGBa")
            return raw_image(_array(image.convert("RGBA" if alpha else "RGB")), colour=True, alpha=alpha)
        case "CMYK" | "YCbCr" | "HSV" | "RGBX":
            return raw_image(_array(image.convert("RGB")), colour=True)
        case mode:
            raise UnsuitableImageError(f"its colour mode {mode} is not supported")


def _array(image: Image.Image) -> Values:
    return np.asarray(image)
