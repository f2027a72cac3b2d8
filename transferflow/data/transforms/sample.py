"""One image with its labels, on its way to the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transferflow.data.files.geometry import Pixels
from transferflow.spec.sections.size import Size

VOID = 255
"""In a mask: a pixel that counts neither in the loss nor in the metrics (padding, unlabelled)."""


@dataclass(frozen=True)
class Sample:
    """An image and what moves with it.

    Attributes:
        image: uint8, H x W x C.
        boxes: float32, N x 4, x_min y_min x_max y_max in pixels (detection).
        labels: int64, N, class of each box (detection).
        mask: uint8, H x W, class indices, `VOID` where none counts (segmentation).
    """

    image: Pixels
    boxes: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None
    mask: Pixels | None = None


@dataclass(frozen=True)
class Resized:
    """An image after the first step of the evaluation transform.

    Attributes:
        image: uint8, H x W x C.
        mask: uint8, H x W, of the same size (segmentation).
        original: Height and width of the decoded image, in which boxes are given.
    """

    image: Pixels
    mask: Pixels | None
    original: Size
