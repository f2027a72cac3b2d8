"""Bootstrap over images, or groups of them: every statistic is a function of how often each image was drawn.

A resample of N images is a row of N multiplicities. A statistic that takes a whole matrix of such rows
can be computed for all resamples with a few matrix products, and the plain value is the row of ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from transferflow.evaluation.statistics.clusters import IntArray

FloatArray = npt.NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]
"""Multiplicities (resamples x images) to values (resamples, or resamples x statistics)."""

CHUNK_ELEMENTS = 2_000_000
"""Largest multiplicity matrix that is held at once (16 MB)."""
LEAST_VALID_SHARE = 0.5
"""An interval needs at least this share of resamples in which the statistic is defined."""


def resample_weights(
    images: int, resamples: int, seed: int, clusters: IntArray | None = None
) -> Iterator[FloatArray]:
    """Yield multiplicities in chunks of rows; the rows are the same whatever the chunk size.

    Args:
        images: Number of images N.
        resamples: Number of rows in all.
        seed: Seed of the generator.
        clusters: Number of each image's cluster, see `Clusters`: clusters are drawn whole.

    Yields:
        Arrays of shape (rows, N); each row sums to N where images are drawn one by one.
    """
    generator = np.random.default_rng(seed)
    units = images if clusters is None else int(clusters.max()) + 1
    rows = max(1, CHUNK_ELEMENTS // images)
    for start in range(0, resamples, rows):
        weights = np.empty((min(rows, resamples - start), units))
        for row in weights:
            row[:] = np.bincount(generator.integers(0, units, units), minlength=units)
        yield weights if clusters is None else weights[:, clusters]


def plain_value(statistic: Statistic, images: int) -> FloatArray:
    """The statistic of the images as they are, each counted once."""
    value: FloatArray = statistic(np.ones((1, images)))[0]
    return value


def bootstrap_values(
    statistic: Statistic, images: int, resamples: int, seed: int, clusters: IntArray | None = None
) -> FloatArray:
    """The statistic in every resample; the first axis is the resample."""
    draws = resample_weights(images, resamples, seed, clusters)
    return np.concatenate([statistic(weights) for weights in draws])


def percentile_interval(values: FloatArray, confidence: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval (Efron, 1979) of one statistic.

    Args:
        values: Its value in each resample; `nan` where it is not defined.
        confidence: Share of the resamples inside the interval, 0..1.

    Returns:
        Both ends, or `None` when too few resamples have a value.
    """
    valid = values[np.isfinite(values)]
    if valid.size < 2 or valid.size < LEAST_VALID_SHARE * values.size:
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(valid, [tail, 1 - tail])
    return float(low), float(high)


def nan_mean(values: FloatArray) -> FloatArray:
    """Mean over the last axis of what is defined; `nan`, without a warning, where nothing is."""
    defined = np.isfinite(values)
    total = np.where(defined, values, 0.0).sum(axis=-1)
    return ratio(total, defined.sum(axis=-1).astype(np.float64))


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Quotient; `nan`, without a warning, where the denominator is 0."""
    result: FloatArray = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result
