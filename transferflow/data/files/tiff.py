"""TIFF files, whatever their bits, bands and layout."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transferflow.data.files.pixels import RawImage, UnsuitableImageError, Values, orient, raw_image
from transferflow.data.files.room import Claim, free_claim
from transferflow.data.files.tiff_limits import check_directories, check_segments

if TYPE_CHECKING:
    import tifffile

    Page = tifffile.TiffPage | tifffile.TiffFrame

_HEADERS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PALETTE, _CMYK, _YCBCR, _RGB, _WHITE_IS_ZERO = 3, 5, 6, 2, 0
_TRANSPARENCY = (1, 2)
_COMPRESSIONS = (1, 8, 32946, 32773, 34925)
"""None, deflate (two numbers), packbits, LZMA: what tifffile reads without the package imagecodecs."""

# Whatever it would log reaches the caller as an exception.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def has_tiff_header(head: bytes) -> bool:
    """Whether a file that starts so is a TIFF or BigTIFF."""
    return head[:4] in _HEADERS


def read_tiff(path: Path, channels: int, claim: Claim) -> RawImage | None:
    """Read the one image of the file, or its pages as bands where there are as many as `channels`.

    Args:
        path: The file.
        channels: Channels that the spec asks for.
        claim: Called with the image's size before it is decoded.

    Returns:
        `None` where the compression (LZW, JPEG, fax) is one that tifffile can't read by itself.

    Raises:
        UnsuitableImageError: If it holds several images.
        TooLargeError: If it is too large. A damaged file raises anything.
    """
    import tifffile  # a plan can do without it

    check_directories(path)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        free_claim(page.imagewidth, page.imagelength, 1)
        pages = _band_pages(file, page, channels)
        if page.compression not in _COMPRESSIONS:
            return None
        size = page.imagewidth, page.imagelength
        claim(*size, sum(one.nbytes for one in pages) // max(1, size[0] * size[1]))
        for one in pages:
            check_segments(one, file.filehandle)
        # Of several threads each would take memory of its own.
        arrays = [_samples_last(one.asarray(maxworkers=1), one) for one in pages]
        orientation = page.tags.valueof(274, 1)
        photometric = int(page.photometric)
        extra = [int(sample) for sample in page.extrasamples or ()]
        colormap = page.colormap if photometric == _PALETTE else None
    values = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=2)
    values = orient(values, orientation if isinstance(orientation, int) else 1)
    return _describe(values, photometric, extra, colormap)


def _band_pages(file: tifffile.TiffFile, first: tifffile.TiffPage, channels: int) -> list[Page]:
    # Thumbnails and pyramid levels are smaller than the image itself.
    pages = [page for page in file.pages if page.shape == first.shape]
    if len(pages) > 1 and (first.samplesperpixel > 1 or len(pages) != channels):
        raise UnsuitableImageError(f"the file holds {len(pages)} images (pages) of the same size")
    return pages


def _samples_last(values: Values, page: Page) -> Values:
    if values.ndim == 2:
        return values[..., None]
    if page.axes == "SYX":
        return np.moveaxis(values, 0, -1)
    if page.axes == "YXS":
        return values
    raise UnsuitableImageError(f"it is no plane image (axes {page.axes})")


def _describe(values: Values, photometric: int, extra: list[int], colormap: Values | None) -> RawImage:
    if colormap is not None:
        # A TIFF palette has 16 bits per colour.
        return raw_image((np.moveaxis(colormap, 0, -1)[values[..., 0]] >> 8).astype(np.uint8), colour=True)
    alpha = bool(extra) and extra[-1] in _TRANSPARENCY and values.shape[2] > 1
    if photometric == _CMYK:
        return _from_cmyk(values)
    if photometric == _WHITE_IS_ZERO and values.dtype.kind == "u":
        values = np.iinfo(values.dtype).max - values
    if photometric == _WHITE_IS_ZERO and values.dtype == np.bool_:
        values = ~values
    return raw_image(values, colour=photometric in (_RGB, _YCBCR), alpha=alpha)


def _from_cmyk(values: Values) -> RawImage:
    if values.dtype.kind != "u" or values.shape[2] < 4:
        raise UnsuitableImageError(f"its CMYK bands are of type {values.dtype}")
    top = np.float64(np.iinfo(values.dtype).max)
    ink = values[..., :4].astype(np.float64) / top
    rgb = (1 - ink[..., :3]) * (1 - ink[..., 3:])
    return raw_image(np.rint(rgb * top).astype(values.dtype), colour=True)
