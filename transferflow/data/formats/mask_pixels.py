"""The values of a mask file as they are stored: no palette, no scaling of few bits, no transparency."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile, ImageOps

from transferflow.data.files.images import open_image
from transferflow.data.files.room import ROOM
from transferflow.data.formats.mask_coding import show_colour
from transferflow.errors import DataError
from transferflow.limits import MAX_TIFF_PAGES

Values = NDArray[np.int32]
Palette = tuple[int, ...]
"""Colour of each value, packed as 0xRRGGBB."""

_INDEX_MODES = ("1", "L", "P", "LA", "PA", "I;16", "I;16B", "I;16L", "I;16N", "I")
_COLOUR_MODES = ("1", "L", "P", "LA", "PA", "RGB", "RGBA")
_MOST_COLOURS = 256
_SHOWN = 8
_GRAY = re.compile(r"(?P<one>1)?L?(;(?P<bits>[24])?R?(?P<inverted>I)?R?)?")
"""How Pillow names the layout of gray pixels: `L;2` is 2 bits, an `I` behind them inverted (TIFF)."""


def read_mask(file: Path, *, colours: bool) -> tuple[Values, Palette]:
    """Values of every pixel as the file stores them, upright (int32, H x W), and its palette.

    A gray mask of 1, 2 or 4 bits holds 0 to 15, though image readers stretch it to 0 to 255; neither a
    palette nor a transparency changes a value.

    Args:
        file: The mask.
        colours: Whether colours are read, packed as 0xRRGGBB.

    Raises:
        DataError: If it can't be read, is too large, is a JPEG, holds several images, or is a colour image
            and indices are asked for.
    """
    try:
        with ROOM.claim() as claim, open_image(file, claim) as image:
            _require_exact(image, file)
            _require_one_page(image, file)
            mode, layout = image.mode, _layout(image)
            seen = ImageOps.exif_transpose(image)
            array = np.asarray(seen.convert("RGB") if colours and mode in _COLOUR_MODES else seen)
            palette = () if colours else _palette_of(image)
    except DataError:
        raise
    except Exception as error:  # a damaged file makes decoders raise anything
        reason = f"the mask can't be read: {error or type(error).__name__}"
        raise DataError(reason, where=str(file)) from error
    _require_mode(mode, file, array, colours=colours)
    if colours:
        wide = array.astype(np.int32)
        return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2], ()
    return _as_stored(array[..., 0] if array.ndim == 3 else array, layout), palette


def _palette_of(image: ImageFile.ImageFile) -> Palette:
    """Colours of a palette; empty where there is none."""
    raw = (image.getpalette("RGB") or []) if image.mode in ("P", "PA") else []
    return tuple(
        red << 16 | green << 8 | blue for red, green, blue in zip(raw[::3], raw[1::3], raw[2::3], strict=True)
    )


def _require_exact(image: ImageFile.ImageFile, file: Path) -> None:
    if image.format in ("JPEG", "MPO"):
        raise DataError(
            "the mask is a JPEG, which changes the values of pixels",
            where=str(file),
            hint="save masks as PNG, from where they were drawn",
        )


def _require_one_page(image: ImageFile.ImageFile, file: Path) -> None:
    """Refuse a file that has the mask of each class, or of each object, as an image of its own.

    Raises:
        DataError: If a further image has the size of the first: thumbnails are smaller.
    """
    size, count = image.size, getattr(image, "n_frames", 1)
    for number in range(1, min(count, MAX_TIFF_PAGES)):
        image.seek(number)
        if image.size == size:
            raise DataError(
                f"the mask holds {count:,} images (pages), of which the first alone would count",
                where=str(file),
                hint="save one image, whose values are the places of the classes in data.classes",
            )
    if count > 1:
        image.seek(0)


def _require_mode(mode: str, file: Path, array: NDArray[np.generic], *, colours: bool) -> None:
    if mode in (_COLOUR_MODES if colours else _INDEX_MODES):
        return
    if colours:
        raise DataError(f"the mask is a {mode} image, not one of colours with 8 bits each", where=str(file))
    if mode == "F":
        raise DataError(
            "the mask holds numbers with fractions, not indices",
            where=str(file),
            hint="save it with whole numbers: the place of each pixel's class in data.classes",
        )
    found, hint = _describe_colours(array)
    raise DataError(
        f"the mask is a {mode} image, not one of indices", where=str(file), found=found, hint=hint
    )


def _describe_colours(array: NDArray[np.generic]) -> tuple[str, str]:
    """What colours a mask has, and what to do about them.

    Args:
        array: H x W x channels.
    """
    red, green, blue = (array[..., band].astype(np.int32) for band in range(3))
    packed = np.unique(red << 16 | green << 8 | blue)
    shown = ", ".join(map(show_colour, packed[:_SHOWN].tolist()))
    if len(packed) > _MOST_COLOURS:
        return (
            f"{len(packed):,} colours",
            "a mask has a colour per class: smooth edges add others",
        )
    hint = "set data.encoding: rgb with data.colours, a colour for each class"
    if (red == green).all() and (green == blue).all():
        hint = f"all channels are alike: save the masks with one channel, or {hint}"
    return f"{len(packed)} colours: {shown}, …" if len(packed) > _SHOWN else f"the colours {shown}", hint


def _layout(image: ImageFile.ImageFile) -> str:
    """How the pixels are stored, in Pillow's words; known only before they are loaded."""
    for tile in image.tile:
        layout = tile.args[0] if isinstance(tile.args, tuple) and tile.args else tile.args
        return layout if isinstance(layout, str) else ""
    return ""


def _as_stored(array: NDArray[np.generic], layout: str) -> Values:
    values = array.astype(np.int32)
    kind = _GRAY.fullmatch(layout)
    if kind is None:
        return values
    bits = 1 if kind["one"] else int(kind["bits"] or 8)
    top = 2**bits - 1
    if 1 < bits < 8:
        values //= 255 // top
    return top - values if kind["inverted"] else values
