"""Metrics of how well a score ranks positives above negatives, for many weightings at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferflow.evaluation.bootstrap import FloatArray, ratio


@dataclass(frozen=True)
class Ranking:
    """Images in order of falling score, with ties held together.

    Attributes:
        order: Image index at each rank (N).
        positive: Whether the image at each rank is positive, as 0.0 or 1.0 (N).
        ends: Rank of the last image of each group of equal scores.
        thresholds: The score of each such group.
    """

    order: npt.NDArray[np.intp]
    positive: FloatArray
    ends: npt.NDArray[np.intp]
    thresholds: FloatArray


@dataclass(frozen=True)
class CumulativeCounts:
    """Weight of positives and negatives that score at or above each threshold.

    Attributes:
        positives: True positives, resamples x thresholds.
        negatives: False positives, resamples x thresholds.
    """

    positives: FloatArray
    negatives: FloatArray


def build_ranking(scores: FloatArray, truth: npt.NDArray[np.bool_]) -> Ranking:
    """Sort once, so that each weighting costs only two cumulative sums."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), scores.size - 1)
    return Ranking(order, truth[order].astype(np.float64), ends, ranked[ends].astype(np.float64))


def cumulative_counts(ranking: Ranking, weights: FloatArray) -> CumulativeCounts:
    """Count positives and negatives above each threshold, per weighting (resamples x N)."""
    ranked = weights[:, ranking.order]
    positives = np.cumsum(ranked * ranking.positive, axis=1)
    negatives = np.cumsum(ranked, axis=1) - positives
    if ranking.ends.size == ranking.order.size:
        return CumulativeCounts(positives, negatives)
    return CumulativeCounts(positives[:, ranking.ends], negatives[:, ranking.ends])


def auroc(counts: CumulativeCounts) -> FloatArray:
    """Area under the ROC curve, ties counted half; `nan` without both positives and negatives."""
    positives, negatives = counts.positives, counts.negatives
    area = negatives[:, 0] * positives[:, 0]
    area += np.einsum("ij,ij->i", np.diff(negatives, axis=1), positives[:, 1:] + positives[:, :-1])
    return ratio(area / 2, positives[:, -1] * negatives[:, -1])


def average_precision(counts: CumulativeCounts) -> FloatArray:
    """Sum of precision times gain in recall over the thresholds; `nan` without positives."""
    positives = counts.positives
    gain = np.diff(positives, axis=1, prepend=0.0)
    # Where nothing has been drawn yet both counts are 0, and so is the gain.
    precision = positives / np.maximum(positives + counts.negatives, 1e-12)
    return ratio(np.einsum("ij,ij->i", gain, precision), positives[:, -1])


def sensitivity_at_specificity(counts: CumulativeCounts, specificity: float) -> FloatArray:
    """Largest sensitivity whose specificity is at least `specificity`; `nan` without both kinds."""
    positives, negatives = counts.positives, counts.negatives
    allowed = negatives <= (1 - specificity) * negatives[:, -1:] + 1e-9
    best = np.where(allowed, positives, 0.0).max(axis=1)
    sensitivity = ratio(best, positives[:, -1])
    sensitivity[negatives[:, -1] <= 0] = np.nan
    return sensitivity
