"""From the values in a file to uint8 with the channels that the spec asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from transferflow.data.files.geometry import Pixels
from transferflow.spec.sections.intensity import FullRange, Intensity, Percentile, Window

Values = NDArray[Any]
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601, as Pillow and OpenCV weigh red, green and blue."""


_BLOCK = 1 << 22
"""Values that are converted at a time."""


class UnsuitableImageError(ValueError):
    """The file is readable, but is not what the spec asks for; the message is one clause."""


@dataclass(frozen=True)
class RawImage:
    """An image as its file holds it.

    Attributes:
        values: H x W x bands, any integer or float type.
        bands: What the bands mean: `colour` is RGB, `bands` anything else (measurements, spectra).
        alpha: Whether the last band is transparency.
        value_range: Lowest and highest value that the file's format allows; `None` for floats.
        inverted: Whether low values are bright (DICOM's MONOCHROME1); they are turned after scaling.
    """

    values: Values
    bands: Literal["gray", "colour", "bands"]
    alpha: bool = False
    value_range: tuple[float, float] | None = None
    inverted: bool = False


def raw_image(values: Values, *, colour: bool = False, alpha: bool = False) -> RawImage:
    """Describe an array, H x W or H x W x bands, whose range is that of its type."""
    if values.ndim == 2:
        values = values[..., None]
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * np.uint8(255)
    opaque = values.shape[2] - alpha
    meaning: Literal["gray", "colour", "bands"] = "bands"
    if opaque == 1:
        meaning = "gray"
    elif colour and opaque == 3:
        meaning = "colour"
    return RawImage(values, meaning, alpha, _type_range(values))


def _type_range(values: Values) -> tuple[float, float] | None:
    if not np.issubdtype(values.dtype, np.integer):
        return None
    limits = np.iinfo(values.dtype)
    return float(limits.min), float(limits.max)


def orient(values: Values, orientation: int) -> Values:
    """Turn and mirror H x W (x C) as an EXIF orientation (1..8) says; other numbers change nothing."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def to_pixels(raw: RawImage, channels: int, intensity: Intensity) -> Pixels:
    """Scale to 0..255 and convert to `channels`, or refuse.

    Gray becomes RGB by repetition and RGB becomes gray by luma. Transparency is laid over white, unless
    the file has just as many bands as the spec has channels: then all bands are taken as they are. Rows are
    converted some at a time, so that the numbers computed with take little memory beside the image.

    Raises:
        UnsuitableImageError: If the bands do not fit, or the values can't be scaled.
    """
    values = raw.values
    scale = _build_scale(raw, intensity)
    as_they_are = values.shape[2] == channels and (
        raw.bands == "bands" or channels not in (1, 3) or not raw.alpha
    )
    if as_they_are and values.dtype == np.uint8 and not raw.inverted:
        return np.ascontiguousarray(values)
    height, width, bands = values.shape
    pixels = np.empty((height, width, channels), np.uint8)
    rows = max(1, _BLOCK // max(1, width * bands))
    for top in range(0, height, rows):
        block = scale(values[top : top + rows])
        if raw.inverted:
            block = 255 - block
        pixels[top : top + rows] = block if as_they_are else _to_channels(block, raw, channels)
    return pixels


def _to_channels(values: Pixels, raw: RawImage, channels: int) -> Pixels:
    if raw.alpha:
        values = _over_white(values)
    found = values.shape[2]
    match channels:
        case _ if found == channels:
            return values
        case 3 if raw.bands == "gray":
            return values.repeat(3, axis=2)
        case 1 if raw.bands == "colour":
            gray: Pixels = np.rint(values.astype(np.float32) @ _LUMA)[..., None].astype(np.uint8)
            return gray
        case _:
            kind = {"gray": "a gray image", "colour": "an RGB image", "bands": f"{found} bands"}[raw.bands]
            raise UnsuitableImageError(
                f"the file holds {kind}{' with transparency' if raw.alpha else ''}, "
                f"which can't become {channels} channels (data.channels)"
            )


def _over_white(values: Pixels) -> Pixels:
    alpha = values[..., -1:].astype(np.uint32)
    blended: NDArray[np.uint32] = values[..., :-1].astype(np.uint32) * alpha + 255 * (255 - alpha)
    return ((blended + 127) // 255).astype(np.uint8)


def _build_scale(raw: RawImage, intensity: Intensity) -> Callable[[Values], Pixels]:
    """What maps some rows of the values to 0..255; transparency is scaled from the whole range."""
    values = raw.values
    if values.dtype == np.uint8:
        return lambda rows: rows
    if values.dtype.kind == "c":
        raise UnsuitableImageError("its values are complex numbers")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UnsuitableImageError("some of its values are not finite (NaN or infinite)")
    if not raw.alpha:
        return partial(_scale, limits=_limits(raw, intensity))
    colours = _limits(RawImage(values[..., :-1], raw.bands, False, raw.value_range), intensity)
    opacity = _limits(RawImage(values[..., -1:], "gray", False, raw.value_range), FullRange())
    return lambda rows: np.concatenate([_scale(rows[..., :-1], colours), _scale(rows[..., -1:], opacity)], 2)


def _scale(values: Values, limits: tuple[float, float]) -> Pixels:
    low, high = limits
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    # float64: a 32-bit integer has more digits than float32 holds.
    scaled = (values.astype(np.float64) - low) * 255 / (high - low)
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def _limits(raw: RawImage, intensity: Intensity) -> tuple[float, float]:
    match intensity:
        case FullRange():
            if raw.value_range is None:
                raise UnsuitableImageError(
                    "its values are floating point numbers, whose range nobody knows; "
                    "set data.intensity to `percentile` or `window`"
                )
            return raw.value_range
        case Percentile(low=low, high=high):
            bottom, top = np.percentile(raw.values, (low, high))
            return float(bottom), float(top)
        case Window(level=level, width=width):
            return level - width / 2, level + width / 2
        case _:
            assert_never(intensity)
