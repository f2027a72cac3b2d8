"""Sizes, resizing and boxes: everything that moves pixels, without randomness."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferflow.limits import MAX_ASPECT
from transferflow.spec.sections.size import Size

Pixels = NDArray[np.uint8]
Interpolation = Literal["bilinear", "bicubic"]

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def covering_size(size: Size, window: Size) -> Size:
    """Size with the aspect kept that just covers a window (rounded down, as torchvision does).

    For a square window its short side is the window's.
    """
    (height, width), (rows, columns) = size, window
    if height * columns <= width * rows:
        return rows, max(columns, int(rows * width / height))
    return max(rows, int(columns * height / width)), columns


def fitting_size(size: Size, window: Size) -> Size:
    """Size with the aspect kept that just fits into a window; no side falls below one pixel.

    For a square window its long side is the window's.
    """
    (height, width), (rows, columns) = size, window
    scale = min(rows / height, columns / width)
    return max(1, min(rows, round(height * scale))), max(1, min(columns, round(width * scale)))


def rescaled_size(size: Size, shorter: int, longer: int) -> Size:
    """Size with the aspect kept whose shorter side is `shorter` and whose longer side is `longer` at most.

    Rounded down as in torchvision's `GeneralizedRCNNTransform`, but never below one pixel.
    """
    scale = min(shorter / min(size), longer / max(size))
    return max(1, math.floor(size[0] * scale)), max(1, math.floor(size[1] * scale))


def shorter_size(size: Size, shorter: int, longer: int) -> Size:
    """Size with the aspect kept whose shorter side is `shorter`, as torchvision's `resize` makes it.

    Where the longer side would be above `longer`, that is its size, and the shorter one gets less. No side
    falls below one pixel.
    """
    small, large = shorter, max(shorter, int(shorter * max(size) / min(size)))
    if large > longer:
        small, large = max(1, int(longer * small / large)), longer
    return (small, large) if size[0] <= size[1] else (large, small)


def kept_size(size: Size, shorter: int | None, longer: int | None) -> Size:
    """Size of an image that keeps its shape: its own, unless its shorter side is to get `shorter` pixels."""
    if shorter is None:
        return size
    return shorter_size(size, shorter, longer or MAX_ASPECT * shorter)


def resize_image(image: Pixels, size: Size, interpolation: Interpolation) -> Pixels:
    """Resize H x W x C with antialiasing, whatever the number of channels."""
    if image.shape[:2] == size:
        return image
    shape, kind = (size[1], size[0]), _FILTERS[interpolation]
    if image.shape[2] == 3:
        return np.asarray(Image.fromarray(image).resize(shape, kind))
    # Channel by channel: Pillow would take a fourth channel for transparency, and knows no fifth.
    bands = [np.asarray(Image.fromarray(image[..., c]).resize(shape, kind)) for c in range(image.shape[2])]
    return np.stack(bands, axis=-1)


def resize_mask(mask: Pixels, size: Size) -> Pixels:
    """Resize H x W class indices; each pixel takes its nearest neighbour."""
    if mask.shape == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))


def centre_crop(image: Pixels, size: Size) -> Pixels:
    """Cut out the centre; `image` is at least `size` high and wide."""
    top, left = (round((extent - side) / 2) for extent, side in zip(image.shape[:2], size, strict=True))
    return image[top : top + size[0], left : left + size[1]]


def pad_to_size(array: Pixels, size: Size, fill: NDArray[np.uint8] | int) -> Pixels:
    """Pad H x W (x C) at the bottom and the right, so that coordinates stay."""
    if array.shape[:2] == size:
        return array
    padded = np.empty((*size, *array.shape[2:]), np.uint8)
    padded[...] = fill
    padded[: array.shape[0], : array.shape[1]] = array
    return padded


def scale_boxes(boxes: NDArray[np.float32], old: Size, new: Size) -> NDArray[np.float32]:
    """Move boxes (N x 4, x_min y_min x_max y_max) from an image of size `old` to one of size `new`."""
    factors = np.array([new[1] / old[1], new[0] / old[0]] * 2, np.float32)
    return boxes.astype(np.float32) * factors


def clip_boxes(boxes: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Cut boxes at the border of the image."""
    height, width = size
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
