"""Thresholds and prediction sets of a classifier: fitted on validation images, told of test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import nn

from transferflow.evaluation.classification.conformal import (
    conformal_reach,
    measure_sets,
    prediction_sets,
)
from transferflow.evaluation.classification.operating import choose_threshold
from transferflow.evaluation.results import Evaluation, Threshold
from transferflow.evaluation.statistics.bootstrap import FloatArray, Statistic, ratio
from transferflow.evaluation.statistics.clusters import decide_clusters
from transferflow.evaluation.statistics.intervals import metric_values
from transferflow.models.decision import LabelDecision, decision_of
from transferflow.spec import ExperimentSpec
from transferflow.spec.sections.task import ClassificationTask
from transferflow.tasks.base import SplitPredictions
from transferflow.tasks.classification_truth import column_matrix, hot_targets

DECIDED, PLAUSIBLE = "decided", "plausible"
"""Columns of the predictions: whether each class is said, and whether it is in the prediction set."""


def fit_decision(
    spec: ExperimentSpec, model: nn.Module, validate: Callable[[], SplitPredictions]
) -> dict[str, float]:
    """Choose thresholds and the reach of prediction sets, where the spec asks for them.

    Args:
        spec: Says whether and how.
        model: Its decision is changed in place.
        validate: Predicts the validation images.

    Returns:
        The threshold of each class that has one; a class without positives or negatives among them keeps 0.5
        and is left out.
    """
    decision = decision_of(model)
    if decision is None:
        return {}
    found = validate()
    probabilities, truth = column_matrix(found.table, "probabilities"), hot_targets(found)
    if spec.evaluation.conformal is not None:
        reach = conformal_reach(probabilities[truth], spec.evaluation.conformal)
        decision.reach.fill_(reach)
    asked = spec.evaluation.thresholds
    chosen: dict[str, float] = {}
    if asked is not None:
        several = isinstance(spec.task, ClassificationTask) and spec.task.multilabel
        for number in range(truth.shape[1]) if several else (1,):
            threshold = choose_threshold(
                probabilities[:, number], truth[:, number], asked.choose, asked.at_least or 0.0
            )
            if threshold is not None:
                decision.thresholds[number] = threshold
                chosen[found.snapshot.classes[number]] = float(decision.thresholds[number])
    return chosen


def decided_columns(
    decision: LabelDecision | None, probabilities: torch.Tensor, *, several: bool
) -> dict[str, pa.Array]:
    """What a decision makes of probabilities, as columns of the predictions; none without one.

    Args:
        decision: Of the model.
        probabilities: Images x classes.
        several: Whether an image may have several classes.
    """
    if decision is None:
        return {}
    thresholds, classes = decision.thresholds.cpu(), probabilities.shape[1]
    if several:
        said = probabilities >= thresholds
    elif classes == 2:
        second = probabilities[:, 1] >= thresholds[1]
        said = torch.stack([~second, second], dim=1)
    else:
        said = nn.functional.one_hot(probabilities.argmax(dim=1), classes).bool()
    columns = {DECIDED: said.numpy()}
    reach = float(decision.reach)
    if reach >= 0:
        columns[PLAUSIBLE] = prediction_sets(probabilities.double().numpy(), reach)
    flags = pa.list_(pa.bool_(), classes)
    return {name: pa.array(list(values), flags) for name, values in columns.items()}


def said_classes(table: pa.Table) -> npt.NDArray[np.bool_] | None:
    """Whether each class is said of each image, where a decision of its own says it."""
    return column_matrix(table, DECIDED).astype(bool) if DECIDED in table.column_names else None


def tell_decision(
    spec: ExperimentSpec,
    predictions: SplitPredictions,
    evaluation: Evaluation,
    thresholds: Mapping[str, float],
) -> Evaluation:
    """The evaluation, with what thresholds and prediction sets are worth on these images.

    Args:
        spec: The spec.
        predictions: Of the test images.
        evaluation: What was measured.
        thresholds: Those that were chosen, by class.
    """
    confidence, table = spec.evaluation.conformal, predictions.table
    if confidence is not None and PLAUSIBLE in table.column_names:
        sets = measure_sets(
            column_matrix(table, PLAUSIBLE).astype(bool),
            hot_targets(predictions),
            confidence,
            resamples=spec.evaluation.bootstrap,
            seed=spec.training.seed,
            clusters=decide_clusters(predictions.groups).of_image,
        )
        evaluation = replace(evaluation, sets=sets)
    if thresholds:
        evaluation = replace(evaluation, thresholds=_measure_thresholds(spec, predictions, thresholds))
    return evaluation


def _measure_thresholds(
    spec: ExperimentSpec, predictions: SplitPredictions, thresholds: Mapping[str, float]
) -> tuple[Threshold, ...]:
    said, truth = column_matrix(predictions.table, DECIDED).astype(bool), hot_targets(predictions)
    clusters = decide_clusters(predictions.groups).of_image
    found = []
    for number, name in enumerate(predictions.snapshot.classes):
        if name in thresholds:
            values = metric_values(
                _shares(said[:, number], truth[:, number]),
                ("sensitivity", "specificity"),
                len(truth),
                spec.evaluation.bootstrap,
                spec.training.seed,
                undefined="the test images show no such image",
                clusters=clusters,
                shares={"sensitivity": truth[:, number], "specificity": ~truth[:, number]},
            )
            found.append(Threshold(name, thresholds[name], values["sensitivity"], values["specificity"]))
    return tuple(found)


def _shares(said: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> Statistic:
    """Sensitivity and specificity as functions of how often each image is drawn."""
    hits, rests = (said & truth).astype(np.float64), (~said & ~truth).astype(np.float64)
    positive = truth.astype(np.float64)

    def statistic(weights: FloatArray) -> FloatArray:
        found = ratio(weights @ hits, weights @ positive)
        return np.stack([found, ratio(weights @ rests, weights @ (1 - positive))], axis=1)

    return statistic
