"""The one place that opens images with Pillow: formats of our list, never whatever plug-ins there are.

Left to itself, Pillow tries every plug-in it has on the content, whatever the file is called; the one for
PostScript starts another program on it.
"""

from __future__ import annotations

import struct
import warnings
from contextlib import nullcontext
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile, features

from transferflow.data.files.room import Claim, TooLargeError, free_claim
from transferflow.limits import MAX_JPEG_WORK
from transferflow.store import open_regular

# What decoders warn about either ends in an exception or does not matter here. Filters are set once:
# `catch_warnings` is not safe where several threads decode.
for _module in ("PIL", "pydicom"):
    warnings.filterwarnings("ignore", module=rf"{_module}\b")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_ORIENTATION = 0x0112
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
_SCAN = b"\xff\xda"
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2")
_NO_IMAGES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer: run `git lfs pull`"),
    (b"<!doctype", "an HTML page: a download that failed"),
    (b"<html", "an HTML page: a download that failed"),
    (b"%!ps", "a PostScript program"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript program"),
    (b"%pdf", "a PDF"),
    (b"pk\x03\x04", "a ZIP archive"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML file"),
)
_OTHER_IMAGES: tuple[tuple[bytes, str], ...] = (
    (b"8bps", "a Photoshop file: export it as PNG or TIFF"),
    (b"\x00\x00\x00\x0cjp  ", "a JPEG 2000 image: convert it to PNG or TIFF"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image: convert it to PNG or TIFF"),
    (b"\x00\x00\x00\x0cjxl ", "a JPEG XL image: convert it to PNG or JPEG"),
    (b"\xff\x0a", "a JPEG XL image: convert it to PNG or JPEG"),
    (b"\x76\x2f\x31\x01", "an OpenEXR image: convert it to TIFF"),
)


class OtherKindError(ValueError):
    """The file is of a kind that is known and not read; the message says what it is and what to do."""

    def __init__(self, kind: str, *, is_image: bool) -> None:
        self.is_image = is_image
        super().__init__(f"the file is {kind}")


def open_image(source: Path | BytesIO, claim: Claim = free_claim) -> ImageFile.ImageFile:
    """Open an image file of one of the formats that are read; its pixels are not decoded yet.

    JPEG, PNG, WebP, TIFF, BMP, GIF; AVIF where Pillow was built with it, HEIC with the package pi-heif.

    Args:
        source: The file, or its content.
        claim: Called with the image's size before any memory is asked for.

    Raises:
        OtherKindError: If it is of another kind that can be named.
        UnidentifiedImageError: If it is of no known kind.
        TooLargeError: If it is too large, or would take too long.
        OSError: If it can't be opened, or is no regular file. A damaged file raises anything.
    """
    with open_regular(source) if isinstance(source, Path) else nullcontext(source) as stream:
        stream.seek(0)
        head = stream.read(64)
        refuse_other_kind(head)
        scans = _count_scans(stream) if head.startswith(b"\xff\xd8") else 0
        stream.seek(0)
    try:
        image = Image.open(source, formats=_formats())
    except Image.DecompressionBombError as error:
        raise TooLargeError(str(error)) from error
    try:
        claim(image.width, image.height, _bytes_per_pixel(image.mode))
        if scans * image.width * image.height > MAX_JPEG_WORK:
            size = f"{image.width} x {image.height} pixels"
            raise TooLargeError(f"a JPEG that goes {scans} times over {size} is taken for a bomb")
    except BaseException:
        image.close()
        raise
    return image


def _count_scans(stream: BinaryIO) -> int:
    """Passes over the image that a JPEG asks for, at most."""
    stream.seek(0)
    count, end = 0, b""
    while chunk := stream.read(1 << 20):
        count += (end + chunk).count(_SCAN)
        end = chunk[-1:]
    return count


def refuse_other_kind(head: bytes) -> None:
    """Say what a file is that starts so, where that is known and nothing that is read.

    Raises:
        OtherKindError: If it is.
    """
    start = head.lstrip().lower()
    for kinds, is_image in ((_NO_IMAGES, False), (_OTHER_IMAGES, True)):
        for magic, kind in kinds:
            if start.startswith(magic):
                raise OtherKindError(kind, is_image=is_image)
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    if brand in _AVIF_BRANDS and not features.check("avif"):
        raise OtherKindError("an AVIF image: Pillow 11.3 or newer reads it", is_image=True)
    if brand in _HEIF_BRANDS and _what_heif_needs():
        raise OtherKindError(f"a HEIC image: {_what_heif_needs()} reads it", is_image=True)


def read_orientation(image: Image.Image) -> int:
    """EXIF orientation (1..8) of an opened image; 1 where none is given or it can't be read."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, struct.error):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


@cache
def _formats() -> tuple[str, ...]:
    found = [*_FORMATS]
    if features.check("avif"):
        found.append("AVIF")
    if not _what_heif_needs():
        found.append("HEIF")
    return tuple(found)


@cache
def _what_heif_needs() -> str:
    """What has to be installed before HEIC can be read; nothing once its reader is known to Pillow."""
    try:
        from pi_heif import register_heif_opener
    except ImportError:
        return "`pip install 'transferflow[heif]'`"
    register_heif_opener()
    return ""


def _bytes_per_pixel(mode: str) -> int:
    # As Pillow keeps them in memory: three bands take four bytes.
    return {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}.get(mode, 4)
