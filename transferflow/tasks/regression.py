"""Regression: one number for each image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.manifest import read_rows
from transferflow.data.snapshot.rows import Row
from transferflow.errors import PlanError, TrainingError
from transferflow.evaluation.figures import ReportTraits
from transferflow.evaluation.pictures import Choice, Panel, Picture, pick_cases
from transferflow.evaluation.regression import build_regression_statistic, evaluate_regression
from transferflow.evaluation.results import Evaluation
from transferflow.evaluation.statistics.bootstrap import FloatArray, Statistic
from transferflow.evaluation.statistics.intervals import plain_values
from transferflow.models.classifier import ImageClassifier
from transferflow.models.heads import apply_units
from transferflow.models.layers import Backbone as BackboneModel
from transferflow.spec.sections.backbone import Backbone
from transferflow.spec.sections.data import Data
from transferflow.spec.sections.evaluation import Evaluation as EvaluationSection
from transferflow.spec.sections.head import Head, LinearHead
from transferflow.spec.sections.task import RegressionTask
from transferflow.tasks.alignment import align_same
from transferflow.tasks.base import EpochMeasure, ModelParts, PredictionInputs, ShowRow, SplitPredictions
from transferflow.tasks.graphs import Graph
from transferflow.tasks.losses import Losses, losses_of_answer, start_at_most
from transferflow.tasks.output.numbers import NumberOutput
from transferflow.tasks.whole_image import build_on_backbone, predict_images
from transferflow.training.job import StartLoss

SCHEMA = pa.schema([("id", pa.string()), ("value", pa.float64())])


class Regression:
    """A linear head with one output, which learns the standardised number and answers in its unit.

    Args:
        head: The head section.
        loss: `mse`, or `huber` with a bend at one standard deviation (smooth L1; P. J. Huber 1964).
        metrics: What is measured.
    """

    traits = ReportTraits(
        figures=("truth_and_prediction",),
        class_note="",
        named="number",
    )

    def __init__(self, head: LinearHead, loss: Literal["mse", "huber"], metrics: Sequence[str]) -> None:
        self.output = NumberOutput()
        self._head = head
        self._loss = loss
        self._metrics = metrics

    def build_model(
        self,
        backbone: Backbone,
        data: Data,
        classes: Sequence[str],
        *,
        seed: int,
        pretrained: bool,
        device: str = "cpu",
    ) -> ModelParts:
        """Build the backbone and a linear head whose output has the unit of the data."""
        return build_on_backbone(
            backbone, data, self._put_head, seed=seed, pretrained=pretrained, device=device
        )

    def _put_head(self, features: BackboneModel) -> ImageClassifier:
        head = self._head
        model = ImageClassifier(features, 1, head.dropout, head.hidden, head.init)
        apply_units(model.head, offset=0.0, scale=1.0)
        return model

    def apply_units(self, model: nn.Module, snapshot: DatasetSnapshot) -> None:
        """Set the unit: an untrained head answers near the mean of the training images."""
        offset, scale = _unit(snapshot)
        apply_units(model.get_submodule("head"), offset=offset, scale=scale)

    def build_losses(self, snapshot: DatasetSnapshot) -> Losses:
        """The distance in standard deviations of the training images, squared or Huber's."""
        mean, scale = _unit(snapshot)
        distance = F.mse_loss if self._loss == "mse" else F.smooth_l1_loss

        def losses(model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            if not isinstance(batch.targets, Tensor):
                raise TrainingError("regression targets are one tensor per batch")
            found = model(batch.images).float().squeeze(1)
            return {"loss": distance(found / scale, batch.targets / scale)}

        def at_start(batch: Batch) -> Mapping[str, StartLoss]:
            of_mean = losses_of_answer(losses, torch.full((len(batch), 1), mean), batch)["loss"]
            return {"loss": start_at_most(of_mean, "as the mean of the training images would do")}

        return Losses(losses, at_start=at_start)

    def predict(self, model: nn.Module, inputs: PredictionInputs) -> pa.Table:
        """One row per image: `id` and `value`, in the unit of the data."""
        ids, found = predict_images(model, inputs, 1)
        return pa.table({"id": ids, "value": found.squeeze(1).tolist()}, schema=SCHEMA)

    def build_graph(self, model: nn.Module) -> Graph:
        """The number, in the unit of the data."""
        return Graph(model, (("values", "a number per image in the unit of the data, N x 1"),))

    def build_measure(self, snapshot: DatasetSnapshot, rows: Sequence[Row], watched: str) -> EpochMeasure:
        """Its metrics."""
        ids, truth = _truths(rows)

        def measure(table: pa.Table) -> Mapping[str, float]:
            statistic = build_regression_statistic(_answers(table, ids), truth, self._metrics)
            return plain_values(statistic, self._metrics, len(ids))

        return EpochMeasure(self.predict, measure)

    def evaluate(self, predictions: SplitPredictions, *, resamples: int, seed: int) -> Evaluation:
        """Measure against the snapshot's numbers."""
        return evaluate_regression(
            *_pairs(predictions),
            predictions.snapshot.classes[0],
            metrics=self._metrics,
            bootstrap=resamples,
            seed=seed,
            groups=predictions.groups,
        )

    def build_statistic(self, predictions: SplitPredictions, metric: str) -> Statistic:
        """The metric as a function of how often each image is drawn."""
        statistic = build_regression_statistic(*_pairs(predictions), [metric])
        return lambda weights: statistic(weights)[:, 0]

    def align_classes(
        self, old: tuple[str, ...], new: tuple[str, ...]
    ) -> Callable[[pa.Table], pa.Table] | None:
        """Another number can't be compared."""
        return align_same(old, new)

    def show_cases(
        self,
        predictions: SplitPredictions,
        show: ShowRow,
        *,
        choice: Choice,
        limit: int,
        min_score: float | None = None,
    ) -> Sequence[Picture]:
        """Images with both numbers; worst: the largest error."""
        found, truth = _pairs(predictions)
        rows = predictions.read_rows()
        errors = found - truth
        rightness = np.where(errors == 0, np.inf, -np.abs(errors))
        return [
            Picture(
                (Panel(show(rows[n])),),
                f"{truth[n]:.6g}, predicted {found[n]:.6g}",
                (rows[n].id, f"error {errors[n]:+.4g}"),
                rows[n].id,
            )
            for n in pick_cases(choice, rightness, limit)
        ]

    def answered_classes(self, table: pa.Table) -> None:
        """A number is no class."""


def build_regression(task: RegressionTask, head: Head, evaluation: EvaluationSection) -> Regression:
    """Build from the sections that it reads.

    Raises:
        PlanError: If the head is another task's.
    """
    if not isinstance(head, LinearHead):
        raise PlanError(f"the head {head.kind} is not for regression", where="head.kind")
    return Regression(head, task.loss, evaluation.metrics or task.metrics.names)


def _unit(snapshot: DatasetSnapshot) -> tuple[float, float]:
    """Mean and standard deviation of the training images' numbers."""
    numbers = read_rows(snapshot, "train").numbers()
    return float(np.mean(numbers)), float(np.std(numbers)) or 1.0


def _pairs(predictions: SplitPredictions) -> tuple[FloatArray, FloatArray]:
    """Predicted and true numbers, in the manifest's order."""
    ids, truth = _truths(predictions.read_rows())
    return _answers(predictions.table, ids), truth


def _truths(rows: Sequence[Row]) -> tuple[list[str], FloatArray]:
    """Ids and true numbers of the rows."""
    found = [(row.id, row.number) for row in rows]
    return [image for image, _ in found], np.array([number for _, number in found])


def _answers(table: pa.Table, ids: Sequence[str]) -> FloatArray:
    """Predicted numbers in the order of the ids."""
    found = dict(zip(*(table[name].to_pylist() for name in ("id", "value")), strict=True))
    return np.array([found[image] for image in ids])
