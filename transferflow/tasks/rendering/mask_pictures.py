"""A predicted mask beside the truth, with the pixels that do not count."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from transferflow.data.files.geometry import resize_image
from transferflow.evaluation.pictures import ImageArray, Panel, Picture
from transferflow.tasks.rendering.drawing import draw_mask

GRAY = 128
OPACITY = 0.75
STRIPES = 80
"""Width of a stripe, as a part of the longer side; the gap beside it is as wide again, twice."""


def picture_masks(
    image: ImageArray,
    truth: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    *,
    ignore_index: int,
    overlap: float,
    image_id: str,
) -> Picture:
    """Image, truth and prediction side by side; pixels that do not count are hatched in both masks.

    Args:
        image: Gray or RGB (… x 3), in any size.
        truth: H x W class indices, or `ignore_index`; the size of the picture.
        predicted: H x W class indices.
        ignore_index: Value in `truth` that does not count.
        overlap: Mean IoU of the image; `nan` where no pixel counts.
        image_id: The record's id.
    """
    size = (truth.shape[0], truth.shape[1])
    image = resize_image(np.atleast_3d(image), size, "bilinear").reshape(*size, *image.shape[2:])
    ignored = truth == ignore_index
    note = " (hatched: ignored)" if ignored.any() else ""
    panels = (
        Panel(image, "image"),
        Panel(hatch(draw_mask(image, truth, (0, ignore_index)), ignored), f"truth{note}"),
        Panel(hatch(draw_mask(image, predicted, (0,)), ignored), "prediction"),
    )
    title = "no labelled pixel" if math.isnan(overlap) else f"mean IoU {overlap:.3f}"
    return Picture(panels, title, (image_id,))


def hatch(image: ImageArray, where: NDArray[np.bool_]) -> ImageArray:
    """Lay gray diagonal stripes over some pixels.

    Args:
        image: H x W x 3.
        where: H x W.
    """
    width = max(1, round(max(image.shape) / STRIPES))
    rows, columns = np.indices(where.shape)
    stripes = where & ((rows + columns) // width % 3 == 0)
    mixed = image * (1 - OPACITY) + GRAY * OPACITY
    return np.where(stripes[..., None], np.rint(mixed), image).astype(np.uint8)
