"""Calibration of probabilities: fitted on the validation images, told of the test images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from transferflow.evaluation.classification.calibration import calibration_statistic
from transferflow.evaluation.classification.statistics import build_sample, confidence_and_correct
from transferflow.evaluation.classification.temperature import fit_temperature
from transferflow.evaluation.results import Evaluation
from transferflow.evaluation.statistics.bootstrap import FloatArray
from transferflow.evaluation.statistics.clusters import decide_clusters
from transferflow.evaluation.statistics.intervals import metric_values
from transferflow.spec import ExperimentSpec
from transferflow.spec.sections.task import ClassificationTask
from transferflow.tasks.base import SplitPredictions
from transferflow.tasks.classification_truth import column_matrix, targets_of

ECE, ECE_BEFORE = "ece", "ece_before_calibration"


def find_temperature(table: pa.Table, truth: np.ndarray, classes: int, *, several: bool) -> float:
    """The temperature that the logits of a table want.

    Args:
        table: A row per image with its `logits`.
        truth: Class indices, or a multi-hot matrix, in the table's order.
        classes: How many there are.
        several: Whether an image may have several.
    """
    hot = truth.astype(bool) if several else np.eye(classes, dtype=bool)[truth]
    return fit_temperature(column_matrix(table, "logits"), hot, several=several)


def tell_calibration(
    spec: ExperimentSpec, predictions: SplitPredictions, evaluation: Evaluation, temperature: float | None
) -> Evaluation:
    """The evaluation, with what the calibration error would be without the temperature."""
    if temperature is None or ECE not in evaluation.metrics or not isinstance(spec.task, ClassificationTask):
        return evaluation
    several = spec.task.multilabel
    before = _probabilities(column_matrix(predictions.table, "logits") * temperature, several=several)
    classes = len(predictions.snapshot.classes)
    sample = build_sample(before, targets_of(predictions, several), classes, multilabel=several)
    statistic = calibration_statistic(*confidence_and_correct(sample))
    former = metric_values(
        lambda weights: statistic(weights)[:, None],
        (ECE_BEFORE,),
        sample.images,
        spec.evaluation.bootstrap,
        spec.training.seed,
        clusters=decide_clusters(predictions.groups).of_image,
        undefined="",
    )
    return replace(evaluation, metrics={**evaluation.metrics, **former})


def _probabilities(logits: FloatArray, *, several: bool) -> FloatArray:
    if several:
        return np.asarray(1 / (1 + np.exp(-logits)), np.float64)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float64)
