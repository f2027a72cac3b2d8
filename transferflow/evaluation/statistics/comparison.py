"""Is the challenger better than the champion, on the same test images?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferflow.errors import EvaluationError
from transferflow.evaluation.statistics.bootstrap import (
    FloatArray,
    Statistic,
    bootstrap_values,
    percentile_interval,
    plain_value,
)
from transferflow.evaluation.statistics.clusters import IntArray


@dataclass(frozen=True)
class Comparison:
    """Challenger minus champion, paired on the same test images.

    Attributes:
        champion: The champion's metric.
        challenger: The challenger's metric.
        difference: Challenger minus champion; below 0 is good where lower is better.
        low: Lower end of the difference's interval.
        high: Upper end.
        confidence: Coverage of the interval, 0..1.
        p_value: Two-sided, of the hypothesis that there is no difference: the share of the resamples that lie
            beyond 0 on the rarer side, doubled (B. Efron and R. J. Tibshirani: An Introduction to the
            Bootstrap, 1993, section 15.4).
    """

    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    confidence: float
    p_value: float


def restrict(statistic: Statistic, kept: IntArray, images: int) -> Statistic:
    """The statistic of some of its images: multiplicities (resamples x kept) to values.

    Args:
        statistic: Of all images.
        kept: Numbers of the images that count.
        images: Number of all images.
    """

    def restricted(weights: FloatArray) -> FloatArray:
        whole = np.zeros((len(weights), images))
        whole[:, kept] = weights
        return statistic(whole)

    return statistic if len(kept) == images else restricted


def compare_paired(
    champion: Statistic,
    challenger: Statistic,
    *,
    images: int,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
    clusters: IntArray | None = None,
) -> Comparison:
    """Paired bootstrap: both models are measured on the same resamples of the same images.

    What makes an image hard is then shared by both and cancels in the difference, so that a gain shows
    that two separate intervals would hide.

    Args:
        champion: The champion's metric: multiplicities (resamples x images) to values (resamples).
        challenger: The challenger's, with the images in the same order.
        images: Number of images.
        resamples: Number of resamples, at least 1.
        seed: Seed of the resamples.
        confidence: Coverage of the interval, 0..1.
        clusters: Number of each image's cluster, where clusters are drawn whole.

    Raises:
        EvaluationError: The metric is not defined on these images, or in most resamples.
    """
    before = float(plain_value(champion, images))
    after = float(plain_value(challenger, images))
    if not np.isfinite([before, after]).all():
        raise EvaluationError(
            "The two models can't be compared: the metric is not defined on these test images.",
            found=f"champion {before}, challenger {after}",
            hint="Choose another gate metric, or give every class test images.",
        )
    # The same seed gives both models the same resamples.
    gains = bootstrap_values(challenger, images, resamples, seed, clusters) - bootstrap_values(
        champion, images, resamples, seed, clusters
    )
    interval = percentile_interval(gains, confidence)
    if interval is None:
        raise EvaluationError(
            "The two models can't be compared: the metric is undefined in most resamples.",
            found=f"{images} test images",
            hint="Add test images of the rare classes.",
        )
    return Comparison(
        champion=before,
        challenger=after,
        difference=after - before,
        low=interval[0],
        high=interval[1],
        confidence=confidence,
        p_value=_p_value(gains[np.isfinite(gains)]),
    )


def _p_value(gains: FloatArray) -> float:
    rarer = min(int((gains <= 0).sum()), int((gains >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(gains) + 1))
