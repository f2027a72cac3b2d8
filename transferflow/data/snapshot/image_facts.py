"""Each file opened once: its hash, whether it decodes, its size and what it looks like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from transferflow.data.files.appearance import LOW_CONTRAST, perceptual_hash
from transferflow.data.files.decode import EMPTY, decode_image, stored_values
from transferflow.data.files.dicom_pixels import read_dicom_text
from transferflow.data.files.images import OtherKindError, open_image, read_orientation
from transferflow.data.files.paths import IMAGE_FORMATS
from transferflow.data.files.pixels import UnsuitableImageError
from transferflow.data.files.room import TooLargeError
from transferflow.errors import MissingDependencyError, TransferflowError
from transferflow.spec.sections.intensity import Intensity
from transferflow.store import file_digest


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What one image file holds.

    Attributes:
        sha256: Hash of the bytes.
        size: Bytes.
        mtime_ns: Time of the last change.
        width: Pixels as seen (EXIF orientation applied).
        height: Pixels as seen.
        mode: Pixel format of the file, in Pillow's words.
        orientation: EXIF orientation, 1 to 8.
        brightness: Mean value, 0 to 1, as the model sees it before normalisation.
        contrast: Largest minus smallest of the 8-bit values, in the band where it is most.
        stored: Type and extremes of the values in the file, such as `uint16 0 4095`; only at low contrast.
        phash: Perceptual hash; `None` for a flat image.
        header_group: What the file itself says about its group (DICOM).
        note: What is odd about a file that can be used.
        problem_kind: Why the file can't be used, as a slug.
        problem: The same in a sentence.
    """

    sha256: str | None = None
    size: int = 0
    mtime_ns: int = 0
    width: int = 0
    height: int = 0
    mode: str = ""
    orientation: int = 1
    brightness: float = 0.0
    contrast: int = 0
    stored: str | None = None
    phash: bytes | None = None
    header_group: str | None = None
    note: str | None = None
    problem_kind: str | None = None
    problem: str | None = None


def inspect_image(
    path: Path, channels: int, intensity: Intensity, group_tag: str | None = None
) -> ImageFacts:
    """Read and decode one image file; never raises for what is in it.

    Args:
        path: The file.
        channels: Channels that the model sees.
        intensity: How values wider than 8 bits become 0..255.
        group_tag: DICOM element to read as the group.

    Raises:
        MissingDependencyError: If the package that reads this kind of file is not installed.
    """
    try:
        status = path.stat()
        sha256 = file_digest(path)
    except OSError as error:
        return ImageFacts(problem_kind="unreadable", problem=f"can't be read: {error.strerror or error}")
    stamp = (sha256, status.st_size, status.st_mtime_ns)
    try:
        file_format, mode, orientation = _read_header(path)
        pixels = decode_image(path, channels, intensity)
        group = read_dicom_text(path, group_tag) if group_tag else None
    except MissingDependencyError:
        raise
    except Exception as error:  # a damaged file makes decoders raise anything
        kind, problem = _decide_problem(error)
        return ImageFacts(*stamp, problem_kind=kind, problem=problem)
    contrast = int(np.ptp(pixels.reshape(-1, pixels.shape[2]), axis=0).max())
    gray = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).convert("L")
    return ImageFacts(
        *stamp,
        width=pixels.shape[1],
        height=pixels.shape[0],
        mode=mode,
        orientation=orientation,
        brightness=float(pixels.mean()) / 255,
        contrast=contrast,
        stored=_stored(path, channels) if contrast <= LOW_CONTRAST else None,
        phash=perceptual_hash(gray),
        header_group=group,
        note=_decide_note(path.suffix.lower(), file_format),
    )


def _stored(path: Path, channels: int) -> str | None:
    try:
        kind, low, high = stored_values(path, channels)
    except Exception:  # it was decoded a moment ago; whatever happened since is no fact
        return None
    return f"{kind} {low:g} {high:g}"


def _read_header(path: Path) -> tuple[str, str, int]:
    """Format, mode and orientation, as far as Pillow knows them."""
    try:
        with open_image(path) as image:
            return image.format or "", image.mode, read_orientation(image)
    except Exception:  # DICOM and rare kinds of TIFF have decoders of their own; what is damaged they say
        return "", path.suffix.lower().lstrip("."), 1


def _decide_note(suffix: str, file_format: str) -> str | None:
    expected = IMAGE_FORMATS.get(suffix)
    # MPO is a JPEG with further pictures behind it, as telephones write them.
    if not expected or not file_format or file_format in (expected, "MPO"):
        return None
    return f"named {suffix}, but holds {file_format}"


def _decide_problem(error: Exception) -> tuple[str, str]:
    text = _reason(error)
    match error.__cause__:
        case OtherKindError(is_image=is_image):
            return "unsupported" if is_image else "not_an_image", text
        case UnsuitableImageError():
            return "unsuitable", text
        case TooLargeError():
            return "too_large", text
        case EOFError():
            return "truncated", text
        case UnidentifiedImageError():
            return "not_an_image", text
    if text == EMPTY:
        return "empty_file", text
    return "truncated" if "truncated" in text else "unreadable", text


def _reason(error: Exception) -> str:
    if isinstance(error, TransferflowError):
        return error.problems[0].what
    return f"the file can't be read: {error or type(error).__name__}"
