"""From a statistic to metric values with intervals: the same for every task."""

from __future__ import annotations

import math
from collections.abc import Sequence

from transferflow.evaluation.results import MetricValue
from transferflow.evaluation.statistics.bootstrap import (
    Statistic,
    bootstrap_values,
    percentile_interval,
    plain_value,
)
from transferflow.evaluation.statistics.clusters import IntArray


def plain_values(statistic: Statistic, names: Sequence[str], images: int) -> dict[str, float]:
    """Values of a statistic with one column per name, of the images as they are; see `metric_values`."""
    return dict(zip(names, plain_value(statistic, images).tolist(), strict=True))


def metric_values(
    statistic: Statistic,
    names: Sequence[str],
    images: int,
    resamples: int,
    seed: int,
    *,
    undefined: str,
    clusters: IntArray | None = None,
) -> dict[str, MetricValue]:
    """Values of a statistic with one column per name, each with its 95 % bootstrap interval.

    Args:
        statistic: Multiplicities (resamples x images) to values (resamples x names).
        names: One name per column.
        images: Number of images.
        resamples: Number of resamples; 0 gives no intervals.
        seed: Seed of the resamples.
        undefined: The reason that stands beside a value that is `nan`.
        clusters: Number of each image's cluster, where clusters are drawn whole.
    """
    plain = plain_value(statistic, images)
    resampled = bootstrap_values(statistic, images, resamples, seed, clusters) if resamples else None
    values: dict[str, MetricValue] = {}
    for column, name in enumerate(names):
        value = float(plain[column])
        if math.isnan(value):
            values[name] = MetricValue(value, reason=undefined)
            continue
        interval = percentile_interval(resampled[:, column]) if resampled is not None else None
        low, high = interval or (None, None)
        values[name] = MetricValue(value, low, high)
    return values
