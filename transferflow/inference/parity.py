"""How far the answers of another runtime are from PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferflow.tasks.graphs import BoxCut

Array = NDArray[Any]
_FAR = 1.0
"""A difference, in pixels or of scores, from which on two boxes are no pair, however far apart they are."""


def value_difference(ours: Array, theirs: Array) -> float:
    """Largest difference between two arrays; infinite where their shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours.astype(np.float64) - theirs).max()) if ours.size else 0.0


def box_differences(
    ours: Sequence[Array], theirs: Sequence[Array], cut: BoxCut
) -> tuple[float, float, float]:
    """Largest differences of boxes (in pixels) and scores, whatever the order in which the boxes come.

    The order of near-equal scores is rounding, and so is which of them is the last that is kept. So boxes are
    paired by where they lie, and one that only one side has differs by as much as its score is above the cut:
    the least score of a box, or the other side's last one where that has as many as it may. Where that is
    said of more than half of the boxes, they are held against each other all the same.

    Args:
        ours: Boxes (N x 4), scores (N) and labels (N).
        theirs: The same of the other runtime, M boxes.
        cut: What keeps a box out of the answer.

    Returns:
        Of boxes, of scores, and 0 of labels: boxes of two classes are no pair.
    """
    a, b = (_as_numbers(side) for side in (ours, theirs))
    if a is None or b is None:
        return float("inf"), float("inf"), float("inf")
    first, second = _pair(a, b)
    above_ours, above_theirs = _above_cut(a, b, cut), _above_cut(b, a, cut)
    distances = np.abs(a[first, :5] - b[second, :5])
    alone = np.maximum(above_ours[first], above_theirs[second])
    same = a[first, 5] == b[second, 5]
    met = same & (distances.max(axis=1, initial=0) <= alone)
    if 2 * met.sum() < len(met):  # then what is different is more than the last few
        met = same
    lone = [alone[~met], np.delete(above_ours, first), np.delete(above_theirs, second)]
    boxes, scores = distances[met, :4], np.concatenate([distances[met, 4], *lone])
    return float(boxes.max(initial=0)), float(scores.max(initial=0)), 0.0


def _as_numbers(found: Sequence[Array]) -> NDArray[np.float64] | None:
    """Rows of x_min, y_min, x_max, y_max, score, label; `None` where the parts do not belong together."""
    boxes, scores, labels = found
    if boxes.shape != (len(scores), 4) or scores.shape != labels.shape:
        return None
    return np.concatenate([boxes, scores[:, None], labels[:, None]], axis=1, dtype=np.float64)


def _pair(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[Array, Array]:
    """Numbers into both of the boxes that belong together: as many as the smaller side has."""
    from scipy.optimize import linear_sum_assignment  # a quarter of a second

    cost = np.abs(a[:, None, :5] - b[None, :, :5]).max(axis=2).clip(max=_FAR)
    cost[a[:, None, 5] != b[None, :, 5]] = 2 * _FAR
    pairs: tuple[Array, Array] = linear_sum_assignment(cost)
    return pairs


def _above_cut(mine: NDArray[np.float64], other: NDArray[np.float64], cut: BoxCut) -> NDArray[np.float64]:
    """How far each score is from not being kept by the other side."""
    is_full = len(other) >= cut.most
    least = max(cut.least_score, other[:, 4].min()) if is_full and len(other) else cut.least_score
    return np.abs(mine[:, 4] - least)
