"""Measure predicted numbers: how far they are from the truth, with intervals over images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transferflow.errors import EvaluationError
from transferflow.evaluation.curves import Curves, Scatter
from transferflow.evaluation.pictures import pick_evenly
from transferflow.evaluation.results import Evaluation, require_images, require_known
from transferflow.evaluation.statistics.bootstrap import FloatArray, Statistic, ratio
from transferflow.evaluation.statistics.clusters import decide_clusters
from transferflow.evaluation.statistics.intervals import metric_values
from transferflow.spec.sections.metrics import REGRESSION

DRAWN_IMAGES = 2000
"""The scatter shows at most so many images, evenly picked by their truth."""


def evaluate_regression(
    predicted: npt.ArrayLike,
    truth: npt.ArrayLike,
    name: str,
    *,
    metrics: Sequence[str],
    bootstrap: int,
    seed: int,
    groups: Sequence[str | None] = (),
) -> Evaluation:
    """Measure one predicted number per image.

    Args:
        predicted: One number per image.
        truth: The right ones, in the same unit.
        name: What the number is.
        metrics: Names of metrics, as in `transferflow.spec.sections.metrics`.
        bootstrap: Resamples of the images for the 95 % intervals; 0 leaves them out.
        seed: Seed of the resamples.
        groups: Patient, scene or the like of each image, where there is one: see `decide_clusters`.

    Returns:
        The evaluation, without classes. Curve: `scatter`.

    Raises:
        EvaluationError: No image, arrays that do not fit, a number that is not finite, or an unknown metric.
    """
    found, right = (np.asarray(values, dtype=np.float64) for values in (predicted, truth))
    statistic = build_regression_statistic(found, right, metrics)
    clusters = decide_clusters(groups)
    drawn = pick_evenly(np.argsort(right, kind="stable").tolist(), DRAWN_IMAGES)
    return Evaluation(
        metrics=metric_values(
            statistic,
            metrics,
            len(right),
            bootstrap,
            seed,
            clusters=clusters.of_image,
            undefined="All images have the same number, so that there is no variance to explain.",
        ),
        per_class={},
        images=len(right),
        drawn=clusters.drawn,
        curves=Curves(scatter=Scatter(name, right[drawn].tolist(), found[drawn].tolist())),
    )


def build_regression_statistic(predicted: FloatArray, truth: FloatArray, names: Sequence[str]) -> Statistic:
    """One function that computes all named metrics, so that they share each resample's work.

    - mae: mean absolute error.
    - rmse: root of the mean squared error.
    - r2: coefficient of determination, 1 - squared error / squared distance from the resample's mean; `nan`
      where all images of a resample have the same number.

    Args:
        predicted: One number per image.
        truth: The right ones.
        names: Metric names.

    Returns:
        Multiplicities (resamples x images) to values (resamples x metrics).

    Raises:
        EvaluationError: No image, arrays that do not fit, a number that is not finite, or an unknown metric.
    """
    require_known(names, REGRESSION.names, "regression")
    require_images(len(truth))
    if predicted.shape != truth.shape:
        raise EvaluationError(
            "Predictions and truth do not fit.", found=f"{predicted.shape}", allowed=f"{truth.shape}"
        )
    if not np.isfinite(predicted).all():
        raise EvaluationError(
            "Predicted numbers are not all finite.",
            found=f"{int((~np.isfinite(predicted)).sum())} of {len(predicted)}",
            hint="The model's outputs are broken; look at the training losses.",
        )
    errors = predicted - truth
    # Centred first: squares of large numbers with a small spread would cancel.
    centred = truth - truth.mean() if np.ptp(truth) > 0 else np.zeros_like(truth)

    def statistic(weights: FloatArray) -> FloatArray:
        drawn = weights.sum(axis=1)
        squared = weights @ errors**2
        around_all = weights @ centred**2
        spread = around_all - ratio((weights @ centred) ** 2, drawn)
        # What rounding leaves of a spread of 0 is no variance.
        spread = np.where(spread > 1e-12 * around_all, spread, 0.0)
        values = {
            "mae": ratio(weights @ np.abs(errors), drawn),
            "rmse": np.sqrt(ratio(squared, drawn)),
            "r2": 1 - ratio(squared, spread),
        }
        return np.stack([values[name] for name in names], axis=1)

    return statistic
