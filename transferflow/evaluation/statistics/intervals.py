"""From a statistic to metric values with intervals: the same for every task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

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
    shares: Mapping[str, npt.NDArray[np.bool_]] = MappingProxyType({}),
) -> dict[str, MetricValue]:
    """Values of a statistic with one column per name, each with its 95 % bootstrap interval.

    Where all images are right, or none is, every resample is the same and its interval has no width: a share
    of images then gets the exact one, see `edge_interval`.

    Args:
        statistic: Multiplicities (resamples x images) to values (resamples x names).
        names: One name per column.
        images: Number of images.
        resamples: Number of resamples; 0 gives no intervals.
        seed: Seed of the resamples.
        undefined: The reason that stands beside a value that is `nan`.
        clusters: Number of each image's cluster, where clusters are drawn whole.
        shares: Statistics that are shares of images, and of which images each is.
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
        if interval is not None and name in shares and value in (0.0, 1.0):
            interval = edge_interval(value, _units(shares[name], clusters))
        low, high = interval or (None, None)
        values[name] = MetricValue(value, low, high)
    return values


def _units(among: npt.NDArray[np.bool_], clusters: IntArray | None) -> int:
    """Images, or clusters of them, that are drawn independently."""
    return int(among.sum()) if clusters is None else len(np.unique(clusters[among]))


def edge_interval(share: float, units: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share that was measured as 0 or 1.

    C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 26, 1934, whose limits have a closed form there.

    Args:
        share: 0 or 1.
        units: Images, or clusters of them, that were drawn independently.
        confidence: Of the interval, two-sided.
    """
    reach = 1 - ((1 - confidence) / 2) ** (1 / units)
    return (1 - reach, 1.0) if share == 1 else (0.0, reach)
