"""COCO's average precision and recall as functions of image multiplicities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from transferflow.evaluation.detection.matching import IOU_THRESHOLDS, ClassMatches
from transferflow.evaluation.results import require_known
from transferflow.evaluation.statistics.bootstrap import FloatArray, Statistic, nan_mean, ratio
from transferflow.spec.sections.metrics import DETECTION

RECALL_POINTS = np.linspace(0, 1, 101)
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
    from scipy import sparse  # a plan can do without it

    objects = weights @ matches.objects
    counts = ~matches.ignored[threshold]
    right = np.flatnonzero(matches.matched[threshold] & counts)
    if right.size == 0:
        nothing = np.where(objects > 0, 0.0, np.nan)
        return nothing, nothing
    wrong = np.flatnonzero(~matches.matched[threshold] & counts)
    wrong = wrong[wrong < right[-1]]
    segment = np.searchsorted(right, wrong)
    between = sparse.csr_array(
        (np.ones(wrong.size), (segment, matches.images[wrong])), shape=(right.size, weights.shape[1])
    )
    found = np.cumsum(weights.T[matches.images[right]], axis=0)
    false = np.cumsum(between @ weights.T, axis=0)
    precision = found / np.maximum(found + false, 1.0)
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    recall = found / np.maximum(objects, 1.0)
    reached = np.searchsorted(RECALL_POINTS, recall, side="right")
    points = np.diff(reached, axis=0, prepend=0)
    average = np.einsum("ij,ij->j", points, best) / RECALL_POINTS.size
    return np.where(objects > 0, average, np.nan), np.where(objects > 0, recall[-1], np.nan)


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
        # Per size bucket and IoU threshold: resamples x classes x (precision, recall).
        tables = {
            (area, t): np.moveaxis(
                np.array([precision_and_recall(m[area], t, weights) for m in matches]), -1, 0
            )
            for area, t in cells
        }
        return np.stack([_metric(tables, name) for name in metrics], axis=1)

    return statistic


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
