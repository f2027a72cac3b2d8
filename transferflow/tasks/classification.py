"""Image classification, single-label and multilabel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.data.records import DatasetSnapshot, SplitName
from transferflow.data.snapshot.manifest import Row, read_groups, read_rows
from transferflow.errors import PlanError
from transferflow.evaluation.bootstrap import Statistic
from transferflow.evaluation.classification import evaluate_classification
from transferflow.evaluation.classification_statistics import build_sample, build_statistic
from transferflow.evaluation.pictures import Choice, Panel, Picture, pick_evenly
from transferflow.evaluation.results import Evaluation
from transferflow.models.backbones.build import build_backbone
from transferflow.models.classifier import ImageClassifier
from transferflow.models.clip import ZeroShotClassifier, build_zero_shot
from transferflow.models.layers import Backbone
from transferflow.spec import ExperimentSpec
from transferflow.spec.sections.head import LinearHead, ZeroShotHead
from transferflow.spec.sections.metrics import metric_names
from transferflow.spec.sections.task import ClassificationTask
from transferflow.tasks.base import ModelParts, PredictionInputs
from transferflow.tasks.rendering.viewable import load_viewable


class Classification:
    """One label per image, or several."""

    def __init__(self, multilabel: bool) -> None:
        self.multilabel = multilabel

    def build_model(
        self, spec: ExperimentSpec, classes: Sequence[str], *, pretrained: bool, device: str = "cpu"
    ) -> ModelParts:
        """Build the backbone and a linear head, or CLIP's text tower as the head."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.training.seed)
            backbone = build_backbone(
                spec.backbone,
                channels=spec.data.channels,
                image_size=spec.data.image_size,
                pretrained=pretrained,
                device=device,
            )
            torch.manual_seed(spec.training.seed)  # the head's start does not depend on the backbone
            model = _put_head(spec, backbone, classes, pretrained, device)
        return ModelParts(model, model.groups, model.preprocessing)

    def build_losses(
        self, spec: ExperimentSpec, classes: Sequence[str], snapshot: DatasetSnapshot
    ) -> Callable[[nn.Module, Batch], Mapping[str, Tensor]]:
        """Cross-entropy with label smoothing, or binary cross-entropy per class."""
        counts = snapshot.class_counts["train"]
        weights = class_weights(
            spec.training.class_weights,
            [counts.get(name, 0) for name in classes],
            classes,
            images=snapshot.counts["train"] if self.multilabel else None,
        )
        smoothing = spec.training.label_smoothing

        def losses(model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            logits = model(batch.images).float()
            if not isinstance(batch.targets, Tensor):
                raise TypeError("classification targets are one tensor per batch")
            scale = None if weights is None else weights.to(logits.device)
            if self.multilabel:
                targets = batch.targets * (1 - smoothing) + smoothing / 2
                loss = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=scale)
            else:
                loss = F.cross_entropy(logits, batch.targets, weight=scale, label_smoothing=smoothing)
            return {"loss": loss}

        return losses

    def predict(self, spec: ExperimentSpec, model: nn.Module, inputs: PredictionInputs) -> pa.Table:
        """One row per image: `id`, `logits`, `probabilities`, both float32 in class order."""
        device = next(model.parameters()).device
        ids: list[str] = []
        found: list[np.ndarray] = []
        with torch.inference_mode():
            for batch in inputs.batches:
                ids.extend(batch.ids)
                found.append(model(batch.images.to(device)).float().cpu().numpy())
        logits = np.concatenate(found) if found else np.zeros((0, len(inputs.classes)), np.float32)
        scores = torch.from_numpy(logits)
        probabilities = (scores.sigmoid() if self.multilabel else scores.softmax(1)).numpy()
        floats = pa.list_(pa.float32(), len(inputs.classes))
        return pa.table(
            {
                "id": pa.array(ids, pa.string()),
                "logits": pa.array(list(logits), floats),
                "probabilities": pa.array(list(probabilities), floats),
            }
        )

    def evaluate(
        self,
        spec: ExperimentSpec,
        predictions: pa.Table,
        snapshot: DatasetSnapshot,
        split: SplitName,
        *,
        folder: Path,
        intervals: bool,
    ) -> Evaluation:
        """Measure against the snapshot's labels."""
        ids = predictions["id"].to_pylist()
        groups = read_groups(snapshot, split)
        return evaluate_classification(
            column_matrix(predictions, "probabilities"),
            targets_of(snapshot, split, ids, self.multilabel),
            snapshot.classes,
            metrics=spec.evaluation.metrics or metric_names(spec.task).names,
            multilabel=self.multilabel,
            bootstrap=spec.evaluation.bootstrap if intervals else 0,
            seed=spec.training.seed,
            specificity=spec.evaluation.specificity,
            groups=[groups[image] for image in ids],
        )

    def build_statistic(
        self,
        spec: ExperimentSpec,
        predictions: pa.Table,
        snapshot: DatasetSnapshot,
        split: SplitName,
        *,
        folder: Path,
        metric: str,
    ) -> Statistic:
        """The metric as a function of how often each image is drawn."""
        targets = targets_of(snapshot, split, predictions["id"].to_pylist(), self.multilabel)
        probabilities = column_matrix(predictions, "probabilities")
        sample = build_sample(probabilities, targets, len(snapshot.classes), multilabel=self.multilabel)
        statistic = build_statistic(sample, [metric], spec.evaluation.specificity)
        return lambda weights: statistic(weights)[:, 0]

    def show_cases(
        self,
        spec: ExperimentSpec,
        predictions: pa.Table,
        snapshot: DatasetSnapshot,
        split: SplitName,
        *,
        folder: Path,
        choice: Choice,
        limit: int,
        min_score: float | None = None,
    ) -> Sequence[Picture]:
        """Images with the probability of their truth; worst: where it is least."""
        probabilities = column_matrix(predictions, "probabilities")
        ids = predictions["id"].to_pylist()
        targets = targets_of(snapshot, split, ids, self.multilabel)
        if self.multilabel:
            truth_share = np.where(targets == 1, probabilities, 1 - probabilities).min(axis=1)
            wrong = truth_share < 0.5
        else:
            truth_share = probabilities[np.arange(len(ids)), targets]
            wrong = probabilities.argmax(axis=1) != targets
        rows = {row.id: row for row in read_rows(snapshot, split)}
        if choice == "worst":
            order = [int(n) for n in np.argsort(truth_share, kind="stable") if wrong[n]][:limit]
        else:
            order = pick_evenly(range(len(ids)), limit)
        return [
            self._case(spec, rows[ids[n]], probabilities[n], snapshot.classes, float(truth_share[n]))
            for n in order
        ]

    def _case(
        self,
        spec: ExperimentSpec,
        row: Row,
        probabilities: np.ndarray,
        classes: Sequence[str],
        truth_share: float,
    ) -> Picture:
        likely = [classes[int(n)] for n in np.flatnonzero(probabilities >= 0.5)]
        said = ", ".join(likely) if self.multilabel else classes[int(probabilities.argmax())]
        truth = ", ".join(sorted(row.labels, key=classes.index))
        image = load_viewable(row.absolute_path, spec.data.channels, spec.data.intensity)
        verdict = "recognised" if said == truth else f"taken for {said or '(none)'}"
        title = f"{truth or '(none)'}, {verdict}"
        lines = (row.id, f"probability of the truth {truth_share:.3f}")
        return Picture((Panel(image),), title, lines, row.id)


def _put_head(
    spec: ExperimentSpec, backbone: Backbone, classes: Sequence[str], pretrained: bool, device: str
) -> ImageClassifier | ZeroShotClassifier:
    match spec.head:
        case LinearHead(dropout=dropout, hidden=hidden, init=init):
            with torch.device(device):
                return ImageClassifier(
                    backbone, num_classes=len(classes), dropout=dropout, hidden=hidden, init=init
                )
        case ZeroShotHead(prompts=prompts):
            return build_zero_shot(spec.backbone, backbone, classes, prompts, pretrained=pretrained)
        case other:
            raise PlanError(f"the head {other.kind} is not for classification", where="head.kind")


def build_classification(task: ClassificationTask) -> Classification:
    """Build from the `task` section."""
    return Classification(task.multilabel)


def class_weights(
    how: str | Mapping[str, float] | None,
    counts: Sequence[int],
    classes: Sequence[str],
    *,
    images: int | None = None,
) -> Tensor | None:
    """Weight of each class in the loss, in class order.

    Args:
        how: `balanced`, weights by name, or nothing. Balanced, exclusive classes weigh n / (k x count), as in
            scikit-learn (King & Zeng 2001). Of several labels each class is a question of its own: images
            with it weigh (n - count) / count times those without it, so that both sides weigh the same.
        counts: Training images of each class.
        classes: Class names in order.
        images: Number of training images, where an image may have several labels.

    Returns:
        float32 of shape (classes,), or `None`. With several labels: weights of the images that have the class
        (`pos_weight` of binary cross-entropy).
    """
    if how is None:
        return None
    if isinstance(how, Mapping):
        return torch.tensor([how.get(name, 1.0) for name in classes])
    if images is None:
        return torch.tensor([sum(counts) / (len(counts) * max(count, 1)) for count in counts])
    # A class that every image has, or none, still needs a weight above 0.
    return torch.tensor([max(images - count, 1) / max(count, 1) for count in counts])


def column_matrix(table: pa.Table, name: str) -> np.ndarray:
    """A column of equally long lists as a float64 matrix (rows x length)."""
    column = table[name].combine_chunks()
    width = column.type.list_size
    return np.asarray(column.flatten(), dtype=np.float64).reshape(len(table), width)


def targets_of(
    snapshot: DatasetSnapshot, split: SplitName, ids: Sequence[str], multilabel: bool
) -> np.ndarray:
    """Truth of these images, in their order: class indices, or a multi-hot matrix."""
    index = {name: number for number, name in enumerate(snapshot.classes)}
    labels = {row.id: [index[label] for label in row.labels] for row in read_rows(snapshot, split)}
    if not multilabel:
        return np.array([labels[i][0] for i in ids], dtype=np.int64)
    hot = np.zeros((len(ids), len(snapshot.classes)), dtype=np.int64)
    for row, image in enumerate(ids):
        hot[row, labels[image]] = 1
    return hot
