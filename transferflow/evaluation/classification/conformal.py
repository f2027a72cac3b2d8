"""Split conformal prediction: sets of classes that hold the right one as often as promised.

V. Vovk, A. Gammerman and G. Shafer, "Algorithmic learning in a random world", 2005; M. Sadinle, J. Lei and
L. Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", JASA 114, 2019.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from transferflow.evaluation.results import MetricValue, PredictionSets
from transferflow.evaluation.statistics.bootstrap import FloatArray, ratio
from transferflow.evaluation.statistics.clusters import IntArray
from transferflow.evaluation.statistics.intervals import metric_values


def conformal_reach(right: FloatArray, confidence: float) -> float:
    """How far below 1 the probability of a class may be that is in the set.

    The ceil((n + 1) * confidence)-th smallest of the n values 1 - p of the right classes: then a new image
    from where these came has its right class in the set with the probability `confidence` at least.

    Args:
        right: Probability of the right class of each of n images.
        confidence: 0..1.

    Returns:
        0..1; 1 where n is too small for any narrower set.
    """
    place = math.ceil((len(right) + 1) * confidence - 1e-9)
    if place > len(right):
        return 1.0
    return float(np.sort(1 - right)[place - 1])


def prediction_sets(probabilities: FloatArray, reach: float) -> npt.NDArray[np.bool_]:
    """Whether each class is in the set of each image; the likeliest one always is.

    Args:
        probabilities: Images x classes.
        reach: See `conformal_reach`.
    """
    sets = np.asarray(probabilities >= 1 - reach, np.bool_)
    sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
    return sets


def measure_sets(
    sets: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.bool_],
    confidence: float,
    *,
    resamples: int,
    seed: int,
    clusters: IntArray | None,
) -> PredictionSets:
    """How often the sets hold the right class, and how large they are.

    Args:
        sets: Images x classes.
        truth: Images x classes, one each.
        confidence: What was promised.
        resamples: Resamples of the images for the intervals.
        seed: Seed of the resamples.
        clusters: Number of each image's cluster, where clusters are drawn whole.
    """
    held: FloatArray = np.asarray((sets & truth).any(axis=1), np.float64)
    sizes: FloatArray = np.asarray(sets.sum(axis=1), np.float64)

    def statistic(weights: FloatArray) -> FloatArray:
        drawn = weights.sum(axis=1)
        return np.stack([ratio(weights @ held, drawn), ratio(weights @ sizes, drawn)], axis=1)

    names = ("coverage", "size")
    found: dict[str, MetricValue] = metric_values(
        statistic,
        names,
        len(held),
        resamples,
        seed,
        undefined="",
        clusters=clusters,
        shares={"coverage": np.ones(len(held), bool)},
    )
    single = float((sizes == 1).mean())
    return PredictionSets(confidence, found["coverage"], found["size"], single)
