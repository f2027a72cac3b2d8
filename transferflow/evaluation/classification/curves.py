"""What the figures of a classification report draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from transferflow.evaluation.classification.calibration import reliability_bins
from transferflow.evaluation.classification.delong import delong_interval
from transferflow.evaluation.classification.ranking import (
    CumulativeCounts,
    Ranking,
    auroc,
    average_precision,
    build_ranking,
    cumulative_counts,
)
from transferflow.evaluation.classification.statistics import ClassificationSample, confidence_and_correct
from transferflow.evaluation.curve_sizes import CONFUSION_CLASSES, CURVE_CLASSES, thin
from transferflow.evaluation.curves import (
    ConfusedPair,
    Confusion,
    Curves,
    DeLong,
    OperatingPoint,
    PrecisionRecall,
    RocCurve,
)
from transferflow.evaluation.statistics.bootstrap import FloatArray

CONFUSED_PAIRS = 20


def classification_curves(sample: ClassificationSample, classes: Sequence[str], specificity: float) -> Curves:
    """Confusion, reliability, ROC and precision-recall curves, operating points, DeLong interval.

    Args:
        sample: Predictions and truth.
        classes: Class names in order.
        specificity: Fixed specificity of the operating points, 0..1.

    Returns:
        The curves; confusion and pairs with exclusive classes only, DeLong's interval with two of them.
    """
    curves = replace(
        _ranking_curves(sample, classes, specificity),
        reliability=reliability_bins(*confidence_and_correct(sample)),
    )
    if sample.multilabel:
        return curves
    few = len(classes) <= CONFUSION_CLASSES
    return replace(
        curves,
        confused=_most_confused(sample, classes),
        confusion=Confusion(list(classes), confusion_matrix(sample).tolist()) if few else None,
        delong=_delong(sample, classes[1]) if len(classes) == 2 else None,
    )


def _delong(sample: ClassificationSample, positive: str) -> DeLong | None:
    interval = delong_interval(sample.probabilities[:, 1], sample.truth[:, 1])
    if not np.isfinite(interval.value):
        return None
    return DeLong(positive, interval.value, interval.low, interval.high)


def confusion_matrix(sample: ClassificationSample) -> npt.NDArray[np.int64]:
    """Images per true class (row) and predicted class (column)."""
    classes = sample.truth.shape[1]
    return np.bincount(_cells(sample), minlength=classes * classes).reshape(classes, classes)


def _cells(sample: ClassificationSample) -> npt.NDArray[np.int64]:
    """Cell of the confusion matrix that each image falls into, row by row."""
    truth, predicted = sample.truth.argmax(axis=1), sample.predicted.argmax(axis=1)
    cells: npt.NDArray[np.int64] = truth * sample.truth.shape[1] + predicted
    return cells


def _most_confused(sample: ClassificationSample, classes: Sequence[str]) -> list[ConfusedPair]:
    """Counted without the matrix, which has 13 GB with 40,000 classes."""
    cells = _cells(sample)
    wrong = cells[cells // len(classes) != cells % len(classes)]
    pairs, images = np.unique(wrong, return_counts=True)
    worst = np.argsort(-images, kind="stable")[:CONFUSED_PAIRS]
    return [
        ConfusedPair(
            classes[int(pairs[i]) // len(classes)], classes[int(pairs[i]) % len(classes)], int(images[i])
        )
        for i in worst
    ]


def _ranking_curves(sample: ClassificationSample, classes: Sequence[str], specificity: float) -> Curves:
    once = np.ones((sample.images, 1))
    ranked: list[tuple[float, int, Ranking, CumulativeCounts]] = []
    for c in sample.ranked_classes:
        ranking = build_ranking(sample.probabilities[:, c], sample.truth[:, c])
        counts = cumulative_counts(ranking, once)
        area = float(auroc(counts)[0])
        if np.isfinite(area):
            ranked.append((area, c, ranking, counts))
    worst = sorted(ranked, key=lambda item: item[:2])[:CURVE_CLASSES]
    shown = sorted(worst, key=lambda item: item[1])
    return Curves(
        roc=[_roc(classes[c], counts, area) for area, c, _, counts in shown],
        precision_recall=[_precision_recall(classes[c], counts) for _, c, _, counts in shown],
        operating_points=[
            operating_point(classes[c], ranking, counts, specificity) for _, c, ranking, counts in shown
        ],
    )


def _roc(name: str, counts: CumulativeCounts, area: float) -> RocCurve:
    def rate(values: FloatArray) -> list[float]:
        curve = np.concatenate([[0.0], values[:, 0] / values[-1, 0]])
        return [round(float(v), 5) for v in curve[thin(curve.size)]]

    return RocCurve(name, rate(counts.negatives), rate(counts.positives), area)


def _precision_recall(name: str, counts: CumulativeCounts) -> PrecisionRecall:
    positives, negatives = counts.positives[:, 0], counts.negatives[:, 0]
    keep = thin(positives.size)
    precision = positives / (positives + negatives)
    recall = positives / positives[-1]
    return PrecisionRecall(
        name,
        [0.0, *(round(float(v), 5) for v in recall[keep])],
        [float(precision[0]), *(round(float(v), 5) for v in precision[keep])],
        float(average_precision(counts)[0]),
    )


def operating_point(
    name: str, ranking: Ranking, counts: CumulativeCounts, specificity: float
) -> OperatingPoint:
    """Lowest threshold whose specificity is at least the fixed one, and its sensitivity.

    `low` and `high` are Wilson's 95 % interval (1927) of the sensitivity at that threshold. The
    threshold is `None` where even the highest score leaves too many false positives.
    """
    positives, negatives = counts.positives[:, 0], counts.negatives[:, 0]
    allowed = np.flatnonzero(negatives <= (1 - specificity) * negatives[-1] + 1e-9)
    found, false = (positives[allowed[-1]], negatives[allowed[-1]]) if allowed.size else (0.0, 0.0)
    from scipy.stats import binomtest  # takes a second to import, which a plan can do without

    interval = binomtest(int(found), int(positives[-1])).proportion_ci(method="wilson")
    return OperatingPoint(
        name,
        threshold=float(ranking.thresholds[allowed[-1]]) if allowed.size else None,
        specificity=float(1 - false / negatives[-1]),
        sensitivity=float(found / positives[-1]),
        low=float(interval.low),
        high=float(interval.high),
    )
