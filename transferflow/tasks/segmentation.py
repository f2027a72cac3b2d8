"""Semantic segmentation: a class for every pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.rows import Row
from transferflow.errors import PlanError, TrainingError
from transferflow.evaluation.figures import ReportTraits
from transferflow.evaluation.pictures import Choice, Picture, pick_cases, pick_evenly
from transferflow.evaluation.results import Evaluation
from transferflow.evaluation.segmentation.counts import MaskCounts, count_mask
from transferflow.evaluation.segmentation.measure import (
    build_segmentation_statistic,
    evaluate_segmentation,
    image_iou,
    segmentation_statistic,
)
from transferflow.evaluation.statistics.bootstrap import Statistic
from transferflow.evaluation.statistics.intervals import plain_values
from transferflow.models.segmentation.build import build_segmenter
from transferflow.models.segmentation.losses import count_pixels, cross_entropy, dice_loss
from transferflow.spec.rules.data import describe_ignored_class
from transferflow.spec.sections.backbone import Backbone
from transferflow.spec.sections.data import Data, KeptShape
from transferflow.spec.sections.evaluation import Evaluation as EvaluationSection
from transferflow.spec.sections.head import Head, SegmentationHead
from transferflow.spec.sections.task import SegmentationTask
from transferflow.spec.sections.training import Training
from transferflow.tasks.alignment import align_same
from transferflow.tasks.base import EpochMeasure, ModelParts, PredictionInputs, ShowRow, SplitPredictions
from transferflow.tasks.graphs import Graph, PixelScores
from transferflow.tasks.losses import Losses
from transferflow.tasks.output.masks import MaskOutput
from transferflow.tasks.rendering.mask_files import write_mask
from transferflow.tasks.rendering.mask_pictures import picture_masks
from transferflow.tasks.segmentation_answers import read_masks
from transferflow.tasks.segmentation_start import even_mask_starts
from transferflow.tasks.segmentation_truth import KeptMasks, MaskPairs, pixel_weights

OUTLINES = "boundary_f1"
SCHEMA = pa.schema([("id", pa.string()), ("mask", pa.string())])


class Segmentation:
    """Binds torchvision's segmenters or a light one, Dice and cross-entropy, and metrics by image.

    Args:
        ignore_index: Mask value of pixels that count neither in the loss nor in the metrics.
        head: The head section.
        class_weights: `balanced`, weights by name, or nothing.
        metrics: What is measured.
        keeps_head: Whether the segmenter is a published one as it is, which must know the classes.
        mask_shape: How the size in which masks are compared follows from that of an image.
    """

    traits = ReportTraits(
        figures=("class_iou", "pixel_confusion", "image_iou"),
        class_note="A class without test images that is predicted all the same has an IoU and a Dice of 0, "
        "which count in the means. A dash stands where there is nothing to measure: recall of a class "
        "without test images, precision of a class that is never predicted.",
        first_drawn=1,  # the first class, the background, is left as it is
    )

    def __init__(
        self,
        *,
        ignore_index: int,
        head: SegmentationHead,
        class_weights: str | Mapping[str, float] | None,
        metrics: Sequence[str],
        keeps_head: bool,
        mask_shape: KeptShape,
    ) -> None:
        self.output = MaskOutput()
        self._ignore_index = ignore_index
        self._head = head
        self._class_weights = class_weights
        self._metrics = metrics
        self._keeps_head = keeps_head
        self._mask_shape = mask_shape

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
        """Build backbone, decoder, auxiliary head and head.

        Raises:
            PlanError: If ignored pixels have the value of a class, or the segmenter is to keep its head and
                does not know one of the classes.
        """
        ignored_class = describe_ignored_class(self._ignore_index, classes)
        if ignored_class:
            raise PlanError(ignored_class, where="task.ignore_index")
        built = build_segmenter(
            self._head,
            backbone,
            num_classes=len(classes),
            channels=data.channels,
            image_size=data.fit if isinstance(data.fit, KeptShape) else data.image_size,
            pretrained=pretrained,
            seed=seed,
            device=device,
            known=classes if self._keeps_head else None,
        )
        return ModelParts(built.model, built.groups, built.preprocessing)

    def apply_units(self, model: nn.Module, snapshot: DatasetSnapshot) -> None:
        """Nothing: classes have no unit."""

    def build_losses(self, snapshot: DatasetSnapshot) -> Losses:
        """Cross-entropy, Dice and the auxiliary loss, each with its share of the sum."""
        head = self._head
        weights = pixel_weights(self._class_weights, snapshot, self._ignore_index)

        def mixed(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            scale = None if weights is None else weights.to(logits.device, non_blocking=True)
            return (
                (1 - head.dice_weight) * cross_entropy(logits, targets, scale, self._ignore_index),
                head.dice_weight * dice_loss(logits, targets, self._ignore_index),
            )

        def losses(model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            if not isinstance(batch.targets, Tensor):
                raise TrainingError("segmentation targets are one tensor per batch")
            logits, targets = model(batch.images), batch.targets.long()
            entropy, dice = mixed(logits["out"].float(), targets)
            found = {"cross_entropy": entropy, "dice": dice}
            if "aux" in logits:
                auxiliary = torch.stack(mixed(logits["aux"].float(), targets)).sum()
                found["auxiliary"] = head.auxiliary_weight * auxiliary
            return found

        def counts(batch: Batch) -> Mapping[str, float]:
            if not isinstance(batch.targets, Tensor):
                return {}
            # Dice is a ratio of sums over the batch: its mean over parts, by images, comes closest.
            pixels = float(count_pixels(batch.targets, weights, self._ignore_index))
            return {"cross_entropy": pixels, "auxiliary": pixels}

        if self._keeps_head:
            return Losses(losses, counts)
        start = partial(even_mask_starts, losses, len(snapshot.classes), head.auxiliary)
        return Losses(losses, counts, at_start=start)

    def predict(self, model: nn.Module, inputs: PredictionInputs) -> pa.Table:
        """One row per image: `id` and `mask`, a PNG of class indices in the size that is asked for."""
        rows = [
            {"id": image, "mask": write_mask(inputs.folder, image, mask)}
            for image, mask in read_masks(model, inputs)
        ]
        return pa.Table.from_pylist(rows, schema=SCHEMA)

    def build_graph(self, model: nn.Module) -> Graph:
        """Logits of the pixels."""
        meaning = "logits of each pixel, N x classes x H x W; the largest is its class"
        return Graph(PixelScores(model), (("scores", meaning),))

    def build_measure(self, snapshot: DatasetSnapshot, rows: Sequence[Row], watched: str) -> EpochMeasure:
        """Its metrics; of outlines only if they are watched."""
        outlines = watched == OUTLINES
        metrics = [name for name in self._metrics if name != OUTLINES or outlines]
        classes, ignored = len(snapshot.classes), self._ignore_index
        truth = KeptMasks(snapshot, rows, ignored, self._mask_shape)

        def count(model: nn.Module, inputs: PredictionInputs) -> pa.Table:
            total = MaskCounts.of_nothing(classes)
            for image, mask in read_masks(model, inputs):
                total += count_mask(mask, truth.read(image), classes, ignored, outlines=outlines)
            columns = {"confusion": [total.confusion.ravel()], "boundary": [total.boundary.ravel()]}
            return pa.table(columns)

        def measure(table: pa.Table) -> Mapping[str, float]:
            sums = [np.sum(table[name].to_pylist(), axis=0, dtype=np.int64) for name in table.column_names]
            total = MaskCounts(*(flat.reshape(classes, -1) for flat in sums))
            return plain_values(build_segmentation_statistic([total], metrics), metrics, 1)

        return EpochMeasure(count, measure)

    def evaluate(self, predictions: SplitPredictions, *, resamples: int, seed: int) -> Evaluation:
        """Measure the masks against the snapshot's."""
        return evaluate_segmentation(
            self._counts(self._pairs(predictions)),
            predictions.snapshot.classes,
            metrics=self._metrics,
            bootstrap=resamples,
            seed=seed,
            groups=predictions.groups,
        )

    def build_statistic(self, predictions: SplitPredictions, metric: str) -> Statistic:
        """The metric as a function of how often each image is drawn."""
        return segmentation_statistic(self._counts(self._pairs(predictions)), metric)

    def align_classes(
        self, old: tuple[str, ...], new: tuple[str, ...]
    ) -> Callable[[pa.Table], pa.Table] | None:
        """Masks of other classes can't be compared."""
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
        """Image, truth and prediction; worst: least mean overlap over the image's own classes."""
        pairs = self._pairs(predictions)
        numbers = range(len(pairs.rows))
        looked_at = numbers if choice == "worst" else pick_evenly(numbers, limit)
        overlap = image_iou(self._counts(pairs, looked_at, outlines=False))
        order = pick_cases(choice, np.where(overlap == 1, np.inf, overlap), limit)
        return [self._case(pairs, show, looked_at[n], float(overlap[n])) for n in order]

    def answered_classes(self, table: pa.Table) -> None:
        """A mask shows by itself where its classes are."""

    def _pairs(self, predictions: SplitPredictions) -> MaskPairs:
        return MaskPairs(predictions, self._ignore_index, self._mask_shape)

    def _counts(
        self, pairs: MaskPairs, chosen: Sequence[int] | None = None, *, outlines: bool = True
    ) -> list[MaskCounts]:
        numbers = range(len(pairs.rows)) if chosen is None else chosen
        classes, ignored = pairs.classes, self._ignore_index
        return [count_mask(*pairs.masks(n), classes, ignored, outlines=outlines) for n in numbers]

    def _case(self, pairs: MaskPairs, show: ShowRow, number: int, overlap: float) -> Picture:
        row = pairs.rows[number]
        predicted, truth = pairs.masks(number)
        return picture_masks(
            show(row),
            truth,
            predicted,
            ignore_index=self._ignore_index,
            overlap=overlap,
            image_id=row.id,
        )


def build_segmentation(
    task: SegmentationTask,
    head: Head,
    training: Training,
    evaluation: EvaluationSection,
    *,
    keeps_head: bool,
    mask_shape: KeptShape,
) -> Segmentation:
    """Build from the sections that it reads, and from what other sections decide; see `Segmentation`.

    Raises:
        PlanError: If the head is another task's.
    """
    if not isinstance(head, SegmentationHead):
        raise PlanError(f"the head {head.kind} can't be built for segmentation", where="head.kind")
    return Segmentation(
        ignore_index=task.truth.ignored_value,
        head=head,
        class_weights=training.class_weights,
        metrics=evaluation.metrics or task.metrics.names,
        keeps_head=keeps_head,
        mask_shape=mask_shape,
    )
