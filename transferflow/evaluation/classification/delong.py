"""DeLong's variance of the AUROC, by the fast algorithm.

E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson, "Comparing the areas under two or more correlated
receiver operating characteristic curves", Biometrics 44, 1988; X. Sun and W. Xu, "Fast implementation of
DeLong's algorithm", IEEE Signal Processing Letters 21(11), 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from transferflow.evaluation.statistics.bootstrap import FloatArray

_NO_VARIANCE = 1e-15
"""What rounding leaves where two rankings are one."""


@dataclass(frozen=True)
class AurocInterval:
    """AUROC of a binary score with its DeLong interval, 0..1; all `nan` where it is not defined."""

    value: float
    low: float
    high: float


def delong_covariance(scores: FloatArray, truth: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """AUROC of several models on the same images, and their covariance.

    Args:
        scores: Models x images.
        truth: Whether each image is positive; at least two positives and two negatives.

    Returns:
        AUROC (models) and covariance (models x models).
    """
    from scipy.stats import rankdata  # takes half a second to import, which a plan can do without

    positive, negative = scores[:, truth], scores[:, ~truth]
    m, n = positive.shape[1], negative.shape[1]
    midranks = rankdata(np.concatenate([positive, negative], axis=1), axis=1)
    # Placement of each positive among the negatives, and the other way round, from midranks alone.
    v01 = (midranks[:, :m] - rankdata(positive, axis=1)) / n
    v10 = 1 - (midranks[:, m:] - rankdata(negative, axis=1)) / m
    covariance = np.atleast_2d(np.cov(v01)) / m + np.atleast_2d(np.cov(v10)) / n
    return v01.mean(axis=1), covariance


@dataclass(frozen=True)
class AurocDifference:
    """AUROC of a challenger minus that of a champion on the same images.

    Attributes:
        low: Lower end of DeLong's interval.
        high: Upper end.
        p_value: Two-sided, of the hypothesis that there is no difference.
    """

    low: float
    high: float
    p_value: float


def delong_difference(
    champion: FloatArray, challenger: FloatArray, truth: npt.NDArray[np.bool_], confidence: float
) -> AurocDifference | None:
    """DeLong's test of two correlated AUROCs.

    Args:
        champion: Score of each image; higher means positive.
        challenger: The same of the other model, with the images in the same order.
        truth: Whether each image is positive.
        confidence: Coverage of the interval, 0..1.

    Returns:
        `None` with fewer than two positives or two negatives, or where the two rank the images alike: then
        there is no variance.
    """
    if truth.sum() < 2 or (~truth).sum() < 2:
        return None
    areas, covariance = delong_covariance(np.stack([champion, challenger]), truth)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if variance <= _NO_VARIANCE:
        return None
    gain, deviation, normal = float(areas[1] - areas[0]), math.sqrt(variance), NormalDist()
    reach = normal.inv_cdf((1 + confidence) / 2) * deviation
    return AurocDifference(gain - reach, gain + reach, 2 * normal.cdf(-abs(gain) / deviation))


def delong_interval(
    scores: FloatArray, truth: npt.NDArray[np.bool_], confidence: float = 0.95
) -> AurocInterval:
    """DeLong interval of one binary score, cut to 0..1.

    Args:
        scores: Score of each image; higher means positive.
        truth: Whether each image is positive.
        confidence: Coverage of the interval, 0..1.
    """
    if truth.sum() < 2 or (~truth).sum() < 2:
        return AurocInterval(math.nan, math.nan, math.nan)
    value, covariance = delong_covariance(scores[None], truth)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(max(float(covariance[0, 0]), 0.0))
    area = float(value[0])
    return AurocInterval(area, max(0.0, area - reach), min(1.0, area + reach))
