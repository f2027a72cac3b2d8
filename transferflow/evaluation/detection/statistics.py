"""COCO's average precision and recall as functions of image multiplicities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from transferflow.evaluation.detection.matching import IOU_THRESHOLDS, ClassMatches
from transferflow.evaluation.results import require_known
from transferflow.evaluation.statistics.bootstrap import FloatArray, Statistic, nan_mean, ratio
from transferflow.evaluation.statistics.clusters import IntArray
from transferflow.spec.sections.metrics import DETECTION

if TYPE_CHECKING:
    from scipy.sparse import csr_array

RECALL_POINTS = np.linspace(0, 1, 101)
BLOCK_ELEMENTS, LEAST_ROWS = 50_000, 8
"""Resamples are taken in parts of about so many numbers: what a processor's own memory holds."""
AREA_OF_METRIC = {
    "map": "all",
    "map50": "all",
    "map75": "all",
    "map_small": "small",
    "map_medium": "medium",
    "map_large": "large",
    "average_recall": "all",
}
THRESHOLDS_OF_METRIC = {"map50": (0,), "map75": (5,)}


def needed_areas(metrics: Sequence[str]) -> tuple[str, ...]:
    """Size buckets that these metrics look at.

    Raises:
        EvaluationError: A metric is unknown.
    """
    require_known(metrics, DETECTION.names, "detection")
    return tuple(dict.fromkeys(AREA_OF_METRIC[name] for name in metrics))


def precision_and_recall(
    matches: ClassMatches, threshold: int, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Average precision over 101 recall points, and the largest recall, of one class.

    The precision at a recall is the best that any larger recall has, as in COCO's own code. Only right
    boxes raise the recall, so that the curve needs one point for each of them: the wrong boxes between two
    right ones are summed up at once.

    Args:
        matches: Matches of the class.
        threshold: Index into `IOU_THRESHOLDS`.
        weights: Multiplicities, resamples x images.

    Returns:
        Both of shape (resamples,); `nan` where no true box is drawn.
    """
    objects = weights @ matches.objects
    counts = ~matches.ignored[threshold]
    right = np.flatnonzero(matches.matched[threshold] & counts)
    if right.size == 0:
        nothing = np.where(objects > 0, 0.0, np.nan)
        return nothing, nothing
    wrong = np.flatnonzero(~matches.matched[threshold] & counts)
    between = _wrong_between(right, wrong, matches.images, weights.shape[1])
    rows = max(LEAST_ROWS, BLOCK_ELEMENTS // right.size)
    average, largest = np.empty(len(weights)), np.empty(len(weights))
    for start in range(0, len(weights), rows):
        block = slice(start, start + rows)
        drawn = np.ascontiguousarray(weights[block].T)
        found = np.cumsum(drawn[matches.images[right]], axis=0)
        best = _best_precision(found, np.cumsum(between @ drawn, axis=0))
        average[block] = _mean_over_recalls(found, best, objects[block])
        largest[block] = found[-1] / np.maximum(objects[block], 1.0)
    return np.where(objects > 0, average, np.nan), np.where(objects > 0, largest, np.nan)


def _wrong_between(right: IntArray, wrong: IntArray, owner: IntArray, images: int) -> csr_array:
    """Per right box and image, how many wrong boxes of the image lie between it and the right one before."""
    from scipy import sparse  # a plan can do without it

    wrong = wrong[wrong < right[-1]]
    segment = np.searchsorted(right, wrong)
    return sparse.csr_array((np.ones(wrong.size), (segment, owner[wrong])), shape=(right.size, images))


def _best_precision(found: FloatArray, false: FloatArray) -> FloatArray:
    """Best precision from each right box on (right boxes x resamples); overwrites `false`."""
    false += found
    precision = np.divide(found, np.maximum(false, 1.0, out=false), out=false)
    backwards = precision[::-1]
    np.maximum.accumulate(backwards, axis=0, out=backwards)
    return precision


def _mean_over_recalls(found: FloatArray, best: FloatArray, objects: FloatArray) -> FloatArray:
    """Mean of the best precision over `RECALL_POINTS`; 0 where a recall is not reached.

    Args:
        found: Right boxes so far (right boxes x resamples).
        best: Best precision from there on (right boxes x resamples).
        objects: True boxes of each resample.
    """
    boxes, resamples = found.shape
    # Counts are whole, so that a recall is reached at a count, too: the rounded one, or one beside it.
    some = np.maximum(objects, 1.0)
    needed = np.ceil(RECALL_POINTS[:, None] * some)
    needed -= (needed - 1) / some >= RECALL_POINTS[:, None]
    needed += needed / some < RECALL_POINTS[:, None]
    # All resamples are looked up at once: end to end, each begins above where the one before it ends.
    beyond = found[-1].max() + 1
    shift = np.arange(resamples) * (beyond + 1)
    rising = (found.T + shift[:, None]).ravel()
    wanted = (np.minimum(needed, beyond) + shift).T
    number = np.arange(resamples)[:, None]
    place = np.searchsorted(rising, wanted.ravel()).reshape(wanted.shape) - number * boxes
    mean: FloatArray = np.concatenate([best, np.zeros((1, resamples))])[place, number].mean(axis=1)
    return mean


def build_detection_statistic(
    matches: Sequence[dict[str, ClassMatches]], metrics: Sequence[str]
) -> Statistic:
    """One function that computes all named metrics.

    Args:
        matches: Per class, size bucket to matches; the buckets of `needed_areas(metrics)`.
        metrics: Names, keys of `AREA_OF_METRIC`.

    Returns:
        Multiplicities (resamples x images) to values (resamples x metrics); `nan` where no class has a
        true box of the size.
    """

    cells = sorted({cell for name in metrics for cell in _cells(name)})

    def statistic(weights: FloatArray) -> FloatArray:
        classes = [_cell_values(of_class, cells, weights) for of_class in matches]
        # Per size bucket and IoU threshold: resamples x classes x (precision, recall).
        tables = {cell: np.moveaxis(np.array([values[cell] for values in classes]), -1, 0) for cell in cells}
        return np.stack([_metric(tables, name) for name in metrics], axis=1)

    return statistic


def _cell_values(
    of_class: Mapping[str, ClassMatches], cells: Sequence[tuple[str, int]], weights: FloatArray
) -> dict[tuple[str, int], tuple[FloatArray, FloatArray]]:
    """Precision and recall of one class; IoU thresholds at which the same boxes are right are one."""
    known: dict[tuple[str, bytes, bytes], tuple[FloatArray, FloatArray]] = {}
    values = {}
    for area, t in cells:
        matches = of_class[area]
        same = (area, matches.matched[t].tobytes(), matches.ignored[t].tobytes())
        if same not in known:
            known[same] = precision_and_recall(matches, t, weights)
        values[area, t] = known[same]
    return values


def _cells(metric: str) -> list[tuple[str, int]]:
    thresholds = THRESHOLDS_OF_METRIC.get(metric, tuple(range(len(IOU_THRESHOLDS))))
    return [(AREA_OF_METRIC[metric], t) for t in thresholds]


def _metric(tables: Mapping[tuple[str, int], FloatArray], name: str) -> FloatArray:
    value = 1 if name == "average_recall" else 0
    return nan_mean(np.concatenate([tables[cell][:, :, value] for cell in _cells(name)], axis=1))


def class_values(matches: ClassMatches) -> dict[str, float]:
    """`objects`, `ap`, `ap50`, `ap75` and `average_recall` of one class; `nan` without true boxes."""
    weights = np.ones((1, matches.objects.size))
    table = np.array(
        [precision_and_recall(matches, t, weights) for t in range(len(IOU_THRESHOLDS))]
    )  # thresholds x 2 x 1
    return {
        "objects": float(matches.objects.sum()),
        "ap": float(table[:, 0, 0].mean()),
        "ap50": float(table[0, 0, 0]),
        "ap75": float(table[5, 0, 0]),
        "average_recall": float(table[:, 1, 0].mean()),
    }


def threshold_counts(matches: ClassMatches, threshold: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Scores of the boxes that count, and how many of them are right and wrong from the top down."""
    counts = ~matches.ignored[threshold]
    right = matches.matched[threshold][counts]
    found = np.cumsum(right).astype(np.float64)
    false = np.cumsum(~right).astype(np.float64)
    return matches.scores[counts], found, false


def share(found: FloatArray, false: FloatArray, objects: float) -> tuple[FloatArray, FloatArray]:
    """Precision and recall from counts."""
    return ratio(found, found + false), ratio(found, np.full_like(found, objects))
