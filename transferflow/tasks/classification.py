"""Image classification, single-label and multilabel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.rows import Row
from transferflow.errors import PlanError
from transferflow.evaluation.classification.measure import evaluate_classification
from transferflow.evaluation.classification.statistics import (
    ClassificationSample,
    build_sample,
    build_statistic,
)
from transferflow.evaluation.figures import ReportTraits
from transferflow.evaluation.pictures import Choice, Picture, pick_cases
from transferflow.evaluation.results import Evaluation
from transferflow.evaluation.statistics.bootstrap import Statistic
from transferflow.evaluation.statistics.intervals import plain_values
from transferflow.models.classifier import ImageClassifier
from transferflow.models.clip import ZeroShotClassifier, build_zero_shot
from transferflow.models.decision import NAME, LabelDecision, decision_of
from transferflow.models.imagenet import apply_imagenet_classes
from transferflow.models.layers import Backbone
from transferflow.spec.sections.backbone import Backbone as BackboneSection
from transferflow.spec.sections.data import Data
from transferflow.spec.sections.evaluation import Evaluation as EvaluationSection
from transferflow.spec.sections.head import Head, LinearHead, ZeroShotHead
from transferflow.spec.sections.task import ClassificationTask
from transferflow.spec.sections.training import Training
from transferflow.tasks.alignment import align_probabilities
from transferflow.tasks.base import (
    TEMPERATURE,
    EpochMeasure,
    ModelParts,
    PredictionInputs,
    ShowRow,
    SplitPredictions,
)
from transferflow.tasks.calibration import find_temperature
from transferflow.tasks.classification_losses import build_label_losses
from transferflow.tasks.classification_start import knows_classes
from transferflow.tasks.classification_truth import (
    column_matrix,
    hot_targets,
    match_targets,
    matrix_column,
    targets_of,
)
from transferflow.tasks.decisions import decided_columns, said_classes
from transferflow.tasks.graphs import Graph, Probabilities
from transferflow.tasks.losses import Losses
from transferflow.tasks.output.labels import LabelOutput
from transferflow.tasks.rendering.label_pictures import picture_labels
from transferflow.tasks.whole_image import build_on_backbone, predict_images


class Classification:
    """One label per image, or several.

    Args:
        multilabel: Whether an image may have several labels, or none.
        head: The head section.
        class_weights: `balanced`, weights by name, or nothing.
        label_smoothing: Share of the target that is spread over all classes, 0..1.
        metrics: What is measured.
        specificity: Fixed specificity at which sensitivity is reported, 0..1.
        calibrate: Whether each epoch looks for a temperature.
        decides: Whether the model has thresholds or prediction sets of its own.
        keeps_head: Whether the last layer is ImageNet's, as the weights carry it.
    """

    traits = ReportTraits(
        figures=("confusion", "reliability", "class_f1", "roc", "precision_recall"),
        class_note="A class without test images that is predicted all the same has an F1 of 0, which counts "
        "in the mean. A dash stands where there is nothing to measure: recall of a class without test "
        "images, precision of a class that is never predicted.",
    )

    def __init__(
        self,
        *,
        multilabel: bool,
        head: LinearHead | ZeroShotHead,
        class_weights: str | Mapping[str, float] | None,
        label_smoothing: float,
        metrics: Sequence[str],
        specificity: float,
        calibrate: bool,
        decides: bool,
        keeps_head: bool,
    ) -> None:
        self.output = LabelOutput(several=multilabel)
        self._multilabel = multilabel
        self._head = head
        self._class_weights = class_weights
        self._label_smoothing = label_smoothing
        self._metrics = metrics
        self._specificity = specificity
        self._calibrate = calibrate
        self._decides = decides
        self._keeps_head = keeps_head

    def build_model(
        self,
        backbone: BackboneSection,
        data: Data,
        classes: Sequence[str],
        *,
        seed: int,
        pretrained: bool,
        device: str = "cpu",
    ) -> ModelParts:
        """Build the backbone and a linear head, or CLIP's text tower as the head.

        Raises:
            PlanError: If the head is to be ImageNet's, and a class is none of its own.
        """

        def put_head(features: Backbone) -> ImageClassifier | ZeroShotClassifier:
            match self._head:
                case LinearHead(dropout=dropout, hidden=hidden, init=init):
                    model = ImageClassifier(features, len(classes), dropout, hidden, init)
                    if self._keeps_head:
                        apply_imagenet_classes(model.head, backbone, features, classes, pretrained=pretrained)
                    return model
                case ZeroShotHead(prompts=prompts):
                    return build_zero_shot(backbone, features, classes, prompts, pretrained=pretrained)
                case _:
                    assert_never(self._head)

        parts = build_on_backbone(backbone, data, put_head, seed=seed, pretrained=pretrained, device=device)
        if self._decides:
            with torch.device(device):
                parts.model.add_module(NAME, LabelDecision(len(classes)))
        return parts

    def apply_units(self, model: nn.Module, snapshot: DatasetSnapshot) -> None:
        """Nothing: classes have no unit."""

    def build_losses(self, snapshot: DatasetSnapshot) -> Losses:
        """Cross-entropy with label smoothing, or binary cross-entropy per class."""
        return build_label_losses(
            snapshot,
            self._class_weights,
            several=self._multilabel,
            smoothing=self._label_smoothing,
            knows=self._keeps_head or knows_classes(self._head),
        )

    def predict(self, model: nn.Module, inputs: PredictionInputs) -> pa.Table:
        """One row per image: `id`, `logits`, `probabilities`, both float32 in class order.

        With thresholds or prediction sets of its own also `decided` and `plausible`, see `decided_columns`.
        """
        ids, logits = predict_images(model, inputs, len(inputs.classes))
        probabilities = logits.sigmoid() if self._multilabel else logits.softmax(1)
        columns = {"logits": matrix_column(logits), "probabilities": matrix_column(probabilities)}
        columns |= decided_columns(decision_of(model), probabilities, several=self._multilabel)
        return pa.table({"id": pa.array(ids, pa.string()), **columns})

    def build_graph(self, model: nn.Module) -> Graph:
        """Probabilities of the classes."""
        kind = "each" if self._multilabel else "summing to 1"
        meaning = f"probabilities of the classes, {kind}, N x classes"
        return Graph(Probabilities(model, several=self._multilabel), (("probabilities", meaning),))

    def build_measure(self, snapshot: DatasetSnapshot, rows: Sequence[Row], watched: str) -> EpochMeasure:
        """Its metrics, and the temperature that its logits want, where they are to be calibrated."""
        classes, several = snapshot.classes, self._multilabel
        places = {row.id: place for place, row in enumerate(rows)}
        known = match_targets(list(places), rows, classes, several)

        def measure(table: pa.Table) -> Mapping[str, float]:
            truth = known[[places[image] for image in table["id"].to_pylist()]]
            probabilities = column_matrix(table, "probabilities")
            sample = build_sample(probabilities, truth, len(classes), multilabel=several)
            found = plain_values(
                build_statistic(sample, self._metrics, self._specificity), self._metrics, len(truth)
            )
            if self._calibrate:
                found[TEMPERATURE] = find_temperature(table, truth, len(classes), several=several)
            return found

        return EpochMeasure(self.predict, measure)

    def evaluate(self, predictions: SplitPredictions, *, resamples: int, seed: int) -> Evaluation:
        """Measure against the snapshot's labels."""
        return evaluate_classification(
            column_matrix(predictions.table, "probabilities"),
            targets_of(predictions, self._multilabel),
            predictions.snapshot.classes,
            metrics=self._metrics,
            multilabel=self._multilabel,
            bootstrap=resamples,
            seed=seed,
            specificity=self._specificity,
            groups=predictions.groups,
            said=said_classes(predictions.table),
        )

    def build_statistic(self, predictions: SplitPredictions, metric: str) -> Statistic:
        """The metric as a function of how often each image is drawn."""
        statistic = build_statistic(self._sample(predictions), [metric], self._specificity)
        return lambda weights: statistic(weights)[:, 0]

    def _sample(self, predictions: SplitPredictions) -> ClassificationSample:
        return build_sample(
            column_matrix(predictions.table, "probabilities"),
            targets_of(predictions, self._multilabel),
            len(predictions.snapshot.classes),
            multilabel=self._multilabel,
            said=said_classes(predictions.table),
        )

    def align_classes(self, old: tuple[str, ...], new: tuple[str, ...]) -> Callable[[pa.Table], pa.Table]:
        """By name; what the old model did not know, it does not say."""
        return align_probabilities(old, new)

    def show_cases(
        self,
        predictions: SplitPredictions,
        show: ShowRow,
        *,
        choice: Choice,
        limit: int,
        min_score: float | None = None,
    ) -> Sequence[Picture]:
        """Images with the probability of their truth; worst: where it is least."""
        probabilities = column_matrix(predictions.table, "probabilities")
        ids = predictions.table["id"].to_pylist()
        truth = hot_targets(predictions)
        said = self._sample(predictions).predicted
        wrong = (said != truth).any(axis=1)
        of_others = 1 - probabilities if self._multilabel else np.ones_like(probabilities)
        truth_share = np.where(truth, probabilities, of_others).min(axis=1)
        chosen = pick_cases(choice, np.where(wrong, truth_share, np.inf), limit)
        rows = {row.id: row for row in predictions.read_rows()}
        classes = predictions.snapshot.classes
        return [picture_labels(rows[ids[n]], show, said[n], classes, float(truth_share[n])) for n in chosen]

    def answered_classes(self, table: pa.Table) -> Mapping[str, int]:
        """The class that is said of each image; of several, or none, the likeliest."""
        answers, said = column_matrix(table, "probabilities"), said_classes(table)
        if said is not None and not self._multilabel:
            answers = said.astype(np.float64)
        likeliest = answers.argmax(axis=1).tolist()
        return dict(zip(table["id"].to_pylist(), likeliest, strict=True))


def build_classification(
    task: ClassificationTask,
    head: Head,
    training: Training,
    evaluation: EvaluationSection,
    *,
    keeps_head: bool,
) -> Classification:
    """Build from the sections that it reads, and whether the last layer is ImageNet's.

    Raises:
        PlanError: If the head is another task's.
    """
    if not isinstance(head, LinearHead | ZeroShotHead):
        raise PlanError(f"the head {head.kind} is not for classification", where="head.kind")
    return Classification(
        multilabel=task.multilabel,
        head=head,
        class_weights=training.class_weights,
        label_smoothing=training.label_smoothing,
        metrics=evaluation.metrics or task.metrics.names,
        specificity=evaluation.specificity,
        calibrate=evaluation.calibrate,
        decides=evaluation.thresholds is not None or evaluation.conformal is not None,
        keeps_head=keeps_head,
    )
