"""Measure a classifier: metrics with intervals, per class, and the data of the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from transferflow.evaluation.classification.curves import classification_curves
from transferflow.evaluation.classification.ranking import (
    auroc,
    average_precision,
    build_ranking,
    cumulative_counts,
)
from transferflow.evaluation.classification.statistics import (
    ClassificationSample,
    build_class_counter,
    build_sample,
    build_statistic,
)
from transferflow.evaluation.left_out import say_left_out
from transferflow.evaluation.results import Evaluation
from transferflow.evaluation.statistics.clusters import decide_clusters
from transferflow.evaluation.statistics.intervals import metric_values

_MEANS = {
    "balanced_accuracy": "recall",
    "macro_f1": "f1",
    "auroc": "auroc",
    "average_precision": "average_precision",
}


def evaluate_classification(
    probabilities: npt.ArrayLike,
    targets: npt.NDArray[np.generic],
    classes: Sequence[str],
    *,
    metrics: Sequence[str],
    multilabel: bool,
    bootstrap: int,
    seed: int,
    specificity: float,
    groups: Sequence[str | None] = (),
    said: npt.NDArray[np.bool_] | None = None,
) -> Evaluation:
    """Measure predicted probabilities against the truth.

    What a class has nothing to be measured by (recall without a test image, precision where it is never
    predicted) is `nan` in its row and left out of the means. Where a metric can't be computed (AUROC with
    one class in the whole split) its value is `nan` and the reason is stored.

    Args:
        probabilities: Images x classes, 0..1.
        targets: Class index per image, or images x classes of 0 and 1 when `multilabel`.
        classes: Class names in order.
        metrics: Names of metrics, as in `transferflow.spec.sections.metrics`.
        multilabel: Whether an image may have several classes; a probability of 0.5 says yes.
        bootstrap: Resamples of the images for the 95 % intervals; 0 leaves them out.
        seed: Seed of the resamples.
        groups: Patient, scene or the like of each image, where there is one: see `decide_clusters`.
        specificity: Fixed specificity at which sensitivity is reported, 0..1.
        said: See `build_sample`.

    Returns:
        The evaluation; for its curves see `classification_curves`.

    Raises:
        EvaluationError: No image, arrays that do not fit, probabilities out of range, unknown metric.
    """
    sample = build_sample(probabilities, targets, len(classes), multilabel=multilabel, said=said)
    clusters = decide_clusters(groups)
    evaluation = Evaluation(
        metrics=metric_values(
            build_statistic(sample, metrics, specificity),
            metrics,
            sample.images,
            bootstrap,
            seed,
            clusters=clusters.of_image,
            undefined=_undefined_reason(sample, classes),
            shares={"accuracy": np.ones(sample.images, bool)},
        ),
        per_class=_class_table(sample, classes),
        images=sample.images,
        drawn=clusters.drawn,
        curves=classification_curves(sample, classes, specificity),
    )
    return say_left_out(evaluation, _MEANS)


def _undefined_reason(sample: ClassificationSample, classes: Sequence[str]) -> str:
    present = [name for c, name in enumerate(classes) if sample.truth[:, c].any()]
    if len(present) == 1 and not sample.multilabel:
        return f"All {sample.images} images are of one class ({present[0]}), so nothing can be ranked."
    return "No class has both images that show it and images that do not."


def _class_table(sample: ClassificationSample, classes: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
    weights = np.ones((1, sample.images))
    counts = build_class_counter(sample)(weights)
    table: dict[str, Mapping[str, float]] = {}
    for c, name in enumerate(classes):
        ranked = cumulative_counts(build_ranking(sample.probabilities[:, c], sample.truth[:, c]), weights.T)
        row = {
            "support": float(counts.support[0, c]),
            "precision": float(counts.precision[0, c]),
            "recall": float(counts.recall[0, c]),
            "f1": float(counts.f1[0, c]),
            "auroc": float(auroc(ranked)[0]),
        }
        if sample.multilabel:
            row["average_precision"] = float(average_precision(ranked)[0])
        table[name] = row
    return table
