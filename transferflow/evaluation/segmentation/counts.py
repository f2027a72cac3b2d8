"""What one predicted mask has right and wrong, as counts that add up over images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from transferflow.errors import EvaluationError
from transferflow.evaluation.statistics.bootstrap import FloatArray

BOUNDARY_SHARE = 0.0075
"""Outlines may be this share of the image's diagonal apart, and at least one pixel."""

Mask = npt.NDArray[np.integer]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MaskCounts:
    """Counts of one image.

    Attributes:
        confusion: Pixels per true class (row) and predicted class (column), classes x classes.
        boundary: Per class (rows): true outline pixels, those near a predicted outline, predicted outline
            pixels, those near a true outline; classes x 4.
    """

    confusion: IntArray
    boundary: IntArray

    def __add__(self, other: MaskCounts) -> MaskCounts:
        """Counts of both."""
        return MaskCounts(self.confusion + other.confusion, self.boundary + other.boundary)

    @classmethod
    def of_nothing(cls, classes: int) -> MaskCounts:
        """Counts of no image."""
        return cls(np.zeros((classes, classes), np.int64), np.zeros((classes, 4), np.int64))


def count_mask(
    predicted: Mask, truth: Mask, classes: int, ignore_index: int, *, outlines: bool = True
) -> MaskCounts:
    """Count one image.

    Outlines are compared as in Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic
    segmentation?", BMVC 2013: an outline pixel is right when an outline of the other mask is near. Where a
    class meets the image's edge or ignored pixels there is no outline.

    Args:
        predicted: Class index per pixel, height x width.
        truth: Class index per pixel, same shape; `ignore_index` where no class is known.
        classes: Number of classes.
        ignore_index: Value in `truth` that is left out.
        outlines: Whether outlines are looked at, which takes most of the time; else none is counted.

    Raises:
        EvaluationError: The shapes differ, or an index is out of range.
    """
    if predicted.shape != truth.shape:
        raise EvaluationError(
            "A predicted mask has another size than the truth.",
            found=f"{predicted.shape}",
            allowed=f"{truth.shape}",
        )
    valid = truth != ignore_index
    true, found = truth[valid].astype(np.int64), predicted[valid].astype(np.int64)
    for name, values in (("truth", true), ("prediction", found)):
        if values.size and (values.min() < 0 or values.max() >= classes):
            raise EvaluationError(
                f"A mask of the {name} holds a value that is no class.",
                found=f"{int(values.min())} to {int(values.max())}",
                allowed=f"0 to {classes - 1}",
            )
    confusion = np.bincount(true * classes + found, minlength=classes * classes)
    confusion = confusion.reshape(classes, classes).astype(np.int64)
    boundary = np.zeros((classes, 4), dtype=np.int64)
    reach = max(1.0, BOUNDARY_SHARE * math.hypot(*truth.shape))
    present = np.flatnonzero(confusion.sum(axis=0) + confusion.sum(axis=1)) if outlines else ()
    for c in present:
        boundary[c] = _boundary_counts((predicted == c) & valid, (truth == c) & valid, valid, reach)
    return MaskCounts(confusion, boundary)


def _boundary_counts(
    predicted: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], valid: npt.NDArray[np.bool_], reach: float
) -> tuple[int, int, int, int]:
    true_outline, found_outline = _outline(truth, valid), _outline(predicted, valid)
    near_found = true_outline & (_distance_to(found_outline) <= reach)
    near_true = found_outline & (_distance_to(true_outline) <= reach)
    counts = (true_outline, near_found, found_outline, near_true)
    return (int(counts[0].sum()), int(counts[1].sum()), int(counts[2].sum()), int(counts[3].sum()))


def _outline(mask: npt.NDArray[np.bool_], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    other = (valid & ~mask).astype(np.uint8)
    outline: npt.NDArray[np.bool_] = mask & (cv2.dilate(other, cross) > 0)
    return outline


def _distance_to(outline: npt.NDArray[np.bool_]) -> FloatArray:
    if not outline.any():
        return np.full(outline.shape, np.inf)
    distance = cv2.distanceTransform((~outline).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Single precision: a distance of just the reach must not fall out by rounding.
    return np.asarray(np.round(distance, 4), dtype=np.float64)
