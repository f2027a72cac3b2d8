"""Semantic segmentation: a class for every pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transferflow.data.files.geometry import Pixels
from transferflow.data.loading.batch import Batch
from transferflow.data.records import DatasetSnapshot, SplitName
from transferflow.data.snapshot.manifest import read_groups
from transferflow.errors import PlanError, TrainingError
from transferflow.evaluation.bootstrap import Statistic
from transferflow.evaluation.pictures import Choice, Picture, pick_evenly
from transferflow.evaluation.results import Evaluation
from transferflow.evaluation.segmentation import (
    evaluate_segmentation,
    image_iou,
    segmentation_statistic,
)
from transferflow.evaluation.segmentation_counts import MaskCounts, count_mask
from transferflow.models.segmentation.build import build_segmenter
from transferflow.models.segmentation.losses import cross_entropy, dice_loss
from transferflow.spec import ExperimentSpec
from transferflow.spec.rules.data import describe_ignored_class
from transferflow.spec.sections.head import SegmentationHead
from transferflow.spec.sections.metrics import metric_names
from transferflow.spec.sections.task import SegmentationTask
from transferflow.tasks.base import ModelParts, PredictionInputs
from transferflow.tasks.rendering.mask_files import write_mask
from transferflow.tasks.rendering.mask_pictures import picture_masks
from transferflow.tasks.rendering.viewable import load_viewable
from transferflow.tasks.segmentation_truth import MaskPairs, pixel_weights

SCHEMA = pa.schema([("id", pa.string()), ("mask", pa.string())])


class Segmentation:
    """Binds torchvision's segmenters or a light one, Dice and cross-entropy, and metrics by image."""

    def __init__(self, ignore_index: int) -> None:
        self.ignore_index = ignore_index

    def build_model(
        self, spec: ExperimentSpec, classes: Sequence[str], *, pretrained: bool, device: str = "cpu"
    ) -> ModelParts:
        """Build backbone, decoder, auxiliary head and head.

        Raises:
            PlanError: If ignored pixels have the value of a class.
        """
        ignored_class = describe_ignored_class(self.ignore_index, classes)
        if ignored_class:
            raise PlanError(ignored_class, where="task.ignore_index")
        built = build_segmenter(
            _head(spec),
            spec.backbone,
            num_classes=len(classes),
            channels=spec.data.channels,
            image_size=spec.data.image_size,
            pretrained=pretrained,
            seed=spec.training.seed,
            device=device,
        )
        return ModelParts(built.model, built.groups, built.preprocessing)

    def build_losses(
        self, spec: ExperimentSpec, classes: Sequence[str], snapshot: DatasetSnapshot
    ) -> Callable[[nn.Module, Batch], Mapping[str, Tensor]]:
        """Cross-entropy, Dice and the auxiliary loss, each with its share of the sum."""
        head = _head(spec)
        weights = pixel_weights(spec.training.class_weights, snapshot, self.ignore_index)

        def mixed(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            scale = None if weights is None else weights.to(logits.device)
            return (
                (1 - head.dice_weight) * cross_entropy(logits, targets, scale, self.ignore_index),
                head.dice_weight * dice_loss(logits, targets, self.ignore_index),
            )

        def losses(model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            if not isinstance(batch.targets, Tensor):
                raise TrainingError("segmentation targets are one tensor per batch")
            logits = model(batch.images)
            entropy, dice = mixed(logits["out"].float(), batch.targets)
            found = {"cross_entropy": entropy, "dice": dice}
            if "aux" in logits:
                auxiliary = sum(mixed(logits["aux"].float(), batch.targets), torch.zeros(()).to(entropy))
                found["auxiliary"] = head.auxiliary_weight * auxiliary
            return found

        return losses

    def predict(self, spec: ExperimentSpec, model: nn.Module, inputs: PredictionInputs) -> pa.Table:
        """One row per image: `id` and `mask`, a PNG of class indices at the original size."""
        device = next(model.parameters()).device
        rows: list[dict[str, str]] = []
        with torch.inference_mode():
            for batch in inputs.batches:
                logits = model(batch.images.to(device))["out"].float()
                for image, scores in zip(batch.ids, logits, strict=True):
                    mask = classify_pixels(scores, inputs, image)
                    rows.append({"id": image, "mask": write_mask(inputs.folder, image, mask)})
        return pa.Table.from_pylist(rows, schema=SCHEMA)

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
        """Measure the masks in `folder` against the snapshot's, at the size of the original images."""
        return evaluate_segmentation(
            self._counts(MaskPairs(predictions, snapshot, split, folder, self.ignore_index), snapshot),
            snapshot.classes,
            metrics=spec.evaluation.metrics or metric_names(spec.task).names,
            bootstrap=spec.evaluation.bootstrap if intervals else 0,
            seed=spec.training.seed,
            groups=list(read_groups(snapshot, split).values()),
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
        pairs = MaskPairs(predictions, snapshot, split, folder, self.ignore_index)
        return segmentation_statistic(self._counts(pairs, snapshot), metric)

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
        """Image, truth and prediction; worst: least mean overlap over the image's own classes."""
        pairs = MaskPairs(predictions, snapshot, split, folder, self.ignore_index)
        numbers = range(len(pairs.rows))
        chosen = list(numbers) if choice == "worst" else pick_evenly(numbers, limit)
        overlap = image_iou(self._counts(pairs, snapshot, chosen))
        shown = [(n, float(share)) for n, share in zip(chosen, overlap, strict=True)]
        if choice == "worst":
            shown = sorted((case for case in shown if case[1] < 1), key=lambda case: case[1])[:limit]
        return [self._case(spec, pairs, n, share) for n, share in shown]

    def _counts(
        self, pairs: MaskPairs, snapshot: DatasetSnapshot, chosen: Sequence[int] | None = None
    ) -> list[MaskCounts]:
        numbers = range(len(pairs.rows)) if chosen is None else chosen
        classes = len(snapshot.classes)
        return [count_mask(*pairs.masks(n), classes, self.ignore_index) for n in numbers]

    def _case(self, spec: ExperimentSpec, pairs: MaskPairs, number: int, overlap: float) -> Picture:
        row = pairs.rows[number]
        predicted, truth = pairs.masks(number)
        image = load_viewable(row.absolute_path, spec.data.channels, spec.data.intensity)
        return picture_masks(
            image, truth, predicted, ignore_index=self.ignore_index, overlap=overlap, image_id=row.id
        )


def build_segmentation(task: SegmentationTask) -> Segmentation:
    """Build from the `task` section."""
    return Segmentation(task.ignored_value)


def classify_pixels(scores: Tensor, inputs: PredictionInputs, image: str) -> Pixels:
    """Best class of every pixel of the original image.

    The scores, not the classes, are led back to the original size: borders between classes stay smooth.

    Args:
        scores: Logits of one image in the model's square, classes x H x W.
        inputs: Knows the transform and the original sizes.
        image: The image's id.

    Returns:
        uint8, height x width.
    """
    width, height = inputs.sizes[image]
    rows, columns = inputs.transform.resized((height, width))
    whole = scores[:, :rows, :columns]
    best = torch.full((height, width), -torch.inf, device=scores.device)
    found = torch.zeros((height, width), dtype=torch.uint8, device=scores.device)
    for number, plane in enumerate(whole):  # one class at a time: large images do not fit all at once
        enlarged = F.interpolate(plane[None, None], (height, width), mode="bilinear", align_corners=False)
        better = enlarged[0, 0] > best
        best = torch.where(better, enlarged[0, 0], best)
        found[better] = number
    return np.asarray(found.cpu().numpy())


def _head(spec: ExperimentSpec) -> SegmentationHead:
    if not isinstance(spec.head, SegmentationHead):
        raise PlanError(f"the head {spec.head.kind} can't be built for segmentation", where="head.kind")
    return spec.head
