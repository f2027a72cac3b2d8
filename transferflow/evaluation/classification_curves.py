"""What the figures of a classification report draw, as plain JSON."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transferflow.evaluation.bootstrap import FloatArray
from transferflow.evaluation.calibration import reliability_bins
from transferflow.evaluation.classification_statistics import ClassificationSample, confidence_and_correct
from transferflow.evaluation.curve_sizes import CONFUSION_CLASSES, CURVE_CLASSES, thin
from transferflow.evaluation.delong import delong_interval
from transferflow.evaluation.ranking import (
    CumulativeCounts,
    Ranking,
    auroc,
    average_precision,
    build_ranking,
    cumulative_counts,
)

CONFUSED_PAIRS = 20


def classification_curves(
    sample: ClassificationSample, classes: Sequence[str], specificity: float
) -> dict[str, object]:
    """Confusion, reliability, ROC and precision-recall curves, operating points, DeLong interval.

    Args:
        sample: Predictions and truth.
        classes: Class names in order.
        specificity: Fixed specificity of the operating points, 0..1.

    Returns:
        `reliability` (see `reliability_bins`); `roc`: a list of {name, fpr, tpr, auroc};
        `precision_recall`: a list of {name, recall, precision, average_precision};
        `operating_points`: a list of {name, threshold, specificity, sensitivity, low, high};
        with exclusive classes also `confusion`: {classes, counts} with true rows, and `confused`:
        a list of {truth, predicted, images}; with two of them `delong`: {name, auroc, low, high}.
    """
    curves: dict[str, object] = {
        "reliability": reliability_bins(*confidence_and_correct(sample)),
        **_ranking_curves(sample, classes, specificity),
    }
    if not sample.multilabel:
        curves["confused"] = _most_confused(sample, classes)
        if len(classes) <= CONFUSION_CLASSES:
            counts = confusion_matrix(sample).tolist()
            curves["confusion"] = {"classes": list(classes), "counts": counts}
    if len(classes) == 2 and not sample.multilabel:
        interval = delong_interval(sample.probabilities[:, 1], sample.truth[:, 1])
        if np.isfinite(interval.value):
            curves["delong"] = {
                "name": classes[1],
                "auroc": interval.value,
                "low": interval.low,
                "high": interval.high,
            }
    return curves


def confusion_matrix(sample: ClassificationSample) -> npt.NDArray[np.int64]:
    """Images per true class (row) and predicted class (column)."""
    classes = sample.truth.shape[1]
    return np.bincount(_cells(sample), minlength=classes * classes).reshape(classes, classes)


def _cells(sample: ClassificationSample) -> npt.NDArray[np.int64]:
    """Cell of the confusion matrix that each image falls into, row by row."""
    truth, predicted = sample.truth.argmax(axis=1), sample.predicted.argmax(axis=1)
    cells: npt.NDArray[np.int64] = truth * sample.truth.shape[1] + predicted
    return cells


def _most_confused(sample: ClassificationSample, classes: Sequence[str]) -> list[dict[str, object]]:
    """Counted without the matrix, which has 13 GB with 40,000 classes."""
    cells = _cells(sample)
    wrong = cells[cells // len(classes) != cells % len(classes)]
    pairs, images = np.unique(wrong, return_counts=True)
    worst = np.argsort(-images, kind="stable")[:CONFUSED_PAIRS]
    return [
        {
            "truth": classes[int(pairs[i]) // len(classes)],
            "predicted": classes[int(pairs[i]) % len(classes)],
            "images": int(images[i]),
        }
        for i in worst
    ]


def _ranking_curves(
    sample: ClassificationSample, classes: Sequence[str], specificity: float
) -> dict[str, object]:
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
    return {
        "roc": [_roc(classes[c], counts, area) for area, c, _, counts in shown],
        "precision_recall": [_precision_recall(classes[c], counts) for _, c, _, counts in shown],
        "operating_points": [
            operating_point(classes[c], ranking, counts, specificity) for _, c, ranking, counts in shown
        ],
    }


def _roc(name: str, counts: CumulativeCounts, area: float) -> dict[str, object]:
    def rate(values: FloatArray) -> list[float]:
        curve = np.concatenate([[0.0], values[:, 0] / values[-1, 0]])
        return [round(float(v), 5) for v in curve[thin(curve.size)]]

    return {"name": name, "fpr": rate(counts.negatives), "tpr": rate(counts.positives), "auroc": area}


def _precision_recall(name: str, counts: CumulativeCounts) -> dict[str, object]:
    positives, negatives = counts.positives[:, 0], counts.negatives[:, 0]
    keep = thin(positives.size)
    precision = positives / (positives + negatives)
    recall = positives / positives[-1]
    return {
        "name": name,
        "recall": [0.0, *(round(float(v), 5) for v in recall[keep])],
        "precision": [float(precision[0]), *(round(float(v), 5) for v in precision[keep])],
        "average_precision": float(average_precision(counts)[0]),
    }


def operating_point(
    name: str, ranking: Ranking, counts: CumulativeCounts, specificity: float
) -> dict[str, object]:
    """Lowest threshold whose specificity is at least the fixed one, and its sensitivity.

    `low` and `high` are Wilson's 95 % interval (1927) of the sensitivity at that threshold. The
    threshold is `None` where even the highest score leaves too many false positives.
    """
    positives, negatives = counts.positives[:, 0], counts.negatives[:, 0]
    allowed = np.flatnonzero(negatives <= (1 - specificity) * negatives[-1] + 1e-9)
    found, false = (positives[allowed[-1]], negatives[allowed[-1]]) if allowed.size else (0.0, 0.0)
    from scipy.stats import binomtest  # takes a second to import, which a plan can do without

    interval = binomtest(int(found), int(positives[-1])).proportion_ci(method="wilson")
    return {
        "name": name,
        "threshold": float(ranking.thresholds[allowed[-1]]) if allowed.size else None,
        "specificity": float(1 - false / negatives[-1]),
        "sensitivity": float(found / positives[-1]),
        "low": float(interval.low),
        "high": float(interval.high),
    }
