"""Metrics of how well a score ranks positives above negatives, for many weightings at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from transferflow.evaluation.statistics.bootstrap import FloatArray, ratio

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(frozen=True)
class Ranking:
    """Images in groups of falling score; equal scores are one group.

    Attributes:
        positives: Which positive image is in which group, groups x images, 0 or 1.
        negatives: The same for negative images.
        thresholds: Lowest score of each group.
    """

    positives: sparse.csr_array
    negatives: sparse.csr_array
    thresholds: FloatArray


@dataclass(frozen=True)
class CumulativeCounts:
    """Weight of positives and negatives that score at or above each threshold.

    Attributes:
        positives: True positives, thresholds x resamples.
        negatives: False positives, thresholds x resamples.
    """

    positives: FloatArray
    negatives: FloatArray


def build_ranking(scores: FloatArray, truth: npt.NDArray[np.bool_], *, merge: bool = False) -> Ranking:
    """Sort once, so that each weighting costs one pass over the images.

    Args:
        scores: Score of each image.
        truth: Whether each image is positive.
        merge: Make one group of neighbouring groups without a positive. No metric of this module changes,
            and a class with few positives has few thresholds.
    """
    from scipy import sparse  # a plan can do without it

    order = np.argsort(-scores, kind="stable")
    ranked, positive = scores[order], truth[order]
    starts = np.concatenate([[True], np.diff(ranked) != 0])
    group = np.cumsum(starts) - 1
    if merge:
        empty = ~np.bincount(group, positive, minlength=group[-1] + 1).astype(bool)
        follows_empty = np.concatenate([[False], empty[1:] & empty[:-1]])
        group = (np.cumsum(~follows_empty) - 1)[group]
    groups = int(group[-1]) + 1
    lowest = np.zeros(groups)
    lowest[group] = ranked  # the last of a group is its lowest

    def members(chosen: npt.NDArray[np.bool_]) -> sparse.csr_array:
        ones = np.ones(int(chosen.sum()))
        return sparse.csr_array((ones, (group[chosen], order[chosen])), shape=(groups, scores.size))

    return Ranking(members(positive), members(~positive), lowest)


def cumulative_counts(ranking: Ranking, columns: FloatArray) -> CumulativeCounts:
    """Count positives and negatives above each threshold.

    Args:
        ranking: Of N images.
        columns: Multiplicities, N x resamples, contiguous.
    """
    return CumulativeCounts(
        np.cumsum(ranking.positives @ columns, axis=0), np.cumsum(ranking.negatives @ columns, axis=0)
    )


def auroc(counts: CumulativeCounts) -> FloatArray:
    """Area under the ROC curve, ties counted half; `nan` without both positives and negatives."""
    positives, negatives = counts.positives, counts.negatives
    area = negatives[0] * positives[0]
    area += np.einsum("ij,ij->j", np.diff(negatives, axis=0), positives[1:] + positives[:-1])
    return ratio(area / 2, positives[-1] * negatives[-1])


def average_precision(counts: CumulativeCounts) -> FloatArray:
    """Sum of precision times gain in recall over the thresholds; `nan` without positives."""
    positives = counts.positives
    gain = np.diff(positives, axis=0, prepend=0.0)
    # Where nothing has been drawn yet both counts are 0, and so is the gain.
    precision = positives / np.maximum(positives + counts.negatives, 1e-12)
    return ratio(np.einsum("ij,ij->j", gain, precision), positives[-1])


def sensitivity_at_specificity(counts: CumulativeCounts, specificity: float) -> FloatArray:
    """Largest sensitivity whose specificity is at least `specificity`; `nan` without both kinds."""
    positives, negatives = counts.positives, counts.negatives
    allowed = negatives <= (1 - specificity) * negatives[-1] + 1e-9
    best = np.where(allowed, positives, 0.0).max(axis=0)
    sensitivity = ratio(best, positives[-1])
    sensitivity[negatives[-1] <= 0] = np.nan
    return sensitivity
