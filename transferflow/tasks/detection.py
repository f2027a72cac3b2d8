"""Object detection: axis-aligned boxes with a class each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.data.records import Box, DatasetSnapshot
from transferflow.data.snapshot.rows import Row
from transferflow.errors import PlanError, TrainingError
from transferflow.evaluation.detection.matching import ImageTruth
from transferflow.evaluation.detection.measure import (
    ImageMistakes,
    count_mistakes,
    detection_statistic,
    evaluate_detection,
    measure_epoch,
)
from transferflow.evaluation.figures import ReportTraits
from transferflow.evaluation.pictures import Choice, Panel, Picture, pick_cases
from transferflow.evaluation.results import Evaluation
from transferflow.evaluation.statistics.bootstrap import Statistic
from transferflow.models.detection.build import build_detector
from transferflow.models.detection.inputs import to_torchvision_targets
from transferflow.spec.sections.backbone import Backbone
from transferflow.spec.sections.data import Data, KeptShape
from transferflow.spec.sections.evaluation import Evaluation as EvaluationSection
from transferflow.spec.sections.head import DetectionHead, Head
from transferflow.spec.sections.task import DetectionTask
from transferflow.tasks.alignment import align_same
from transferflow.tasks.base import (
    MIN_SCORE,
    EpochMeasure,
    ModelParts,
    PredictionInputs,
    ShowRow,
    SplitPredictions,
)
from transferflow.tasks.detection_start import one_stage_starts, two_stage_starts
from transferflow.tasks.graphs import BoxCut, Graph, OneImagesBoxes
from transferflow.tasks.losses import Losses
from transferflow.tasks.output.boxes import BoxOutput
from transferflow.tasks.rendering.drawing import draw_boxes
from transferflow.training.job import StartLoss

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("x_min", pa.float32()),
        ("y_min", pa.float32()),
        ("x_max", pa.float32()),
        ("y_max", pa.float32()),
    ]
)


class Detection:
    """Binds torchvision's detectors, their losses and COCO's metrics.

    Args:
        head: The head section.
        metrics: What is measured.
        keeps_head: Whether the detector is a published one as it is, which must know the classes.
    """

    traits = ReportTraits(
        figures=("box_precision_recall", "least_scores", "object_sizes", "class_ap"),
        class_note="A dash stands where the test split has no box of a class; the means leave it out.",
        counted="boxes",
        first_drawn=0,
    )

    def __init__(self, head: DetectionHead, metrics: Sequence[str], *, keeps_head: bool) -> None:
        self.output = BoxOutput(head.nms_threshold)
        self._head = head
        self._metrics = metrics
        self._has_background = head.kind == "faster_rcnn"
        self._keeps_head = keeps_head

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
        """Build backbone, feature pyramid and head.

        Raises:
            PlanError: If the detector is to keep its head, which does not know one of the classes.
        """
        built = build_detector(
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
        """The detector's own losses, each by its name; in eval mode it answers with boxes alone."""

        def losses(model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            if isinstance(batch.targets, Tensor):
                raise TrainingError("detection targets are a list of boxes and labels per image")
            if not model.training:
                return {}  # it answers with boxes, of which no loss can be told
            targets = to_torchvision_targets(batch.targets, self._has_background)
            found: Mapping[str, Tensor] = model(list(batch.shown), targets)
            return found

        return Losses(losses, in_eval=False, at_start=partial(self._start, len(snapshot.classes)))

    def _start(self, classes: int, batch: Batch) -> Mapping[str, StartLoss]:
        """Those of new class layers; where a box lies is anybody's guess."""
        if self._keeps_head:
            return {}
        boxes = [] if isinstance(batch.targets, Tensor) else [len(t["boxes"]) for t in batch.targets]
        if self._head.kind == "faster_rcnn":
            return two_stage_starts(classes)
        return one_stage_starts(boxes, classes, batch.images.shape[-2:].numel())

    def predict(self, model: nn.Module, inputs: PredictionInputs) -> pa.Table:
        """One row per box, in pixels of the original image; an image without boxes has no row."""
        first = int(self._has_background)
        tables = [SCHEMA.empty_table()]
        with torch.inference_mode():
            for batch in inputs.batches:
                for image, found in zip(batch.ids, inputs.ask(model, batch), strict=True):
                    tables.append(_rows(image, found, first, inputs))
        return pa.concat_tables(tables)

    def build_graph(self, model: nn.Module) -> Graph:
        """The boxes of one image: their number depends on what is in it."""
        outputs = (
            ("boxes", "x_min, y_min, x_max, y_max in pixels of the input, boxes x 4"),
            ("scores", "0 to 1, surest first"),
            ("labels", "numbers into the classes"),
        )
        cut = BoxCut(self._head.score_threshold, self._head.detections_per_image)
        return Graph(OneImagesBoxes(model, int(self._has_background)), outputs, cut)

    def build_measure(self, snapshot: DatasetSnapshot, rows: Sequence[Row], watched: str) -> EpochMeasure:
        """Its metrics, and the score with the best F1, which is the least of a box that counts."""
        truths = _truths(rows)

        def measure(table: pa.Table) -> Mapping[str, float]:
            values, sweep = measure_epoch(table, truths, snapshot.classes, self._metrics)
            return {**values, MIN_SCORE: sweep.best}

        return EpochMeasure(self.predict, measure)

    def evaluate(self, predictions: SplitPredictions, *, resamples: int, seed: int) -> Evaluation:
        """Measure as COCO does, against the snapshot's boxes, on every image of the split."""
        return evaluate_detection(
            predictions.table,
            read_truths(predictions),
            predictions.snapshot.classes,
            metrics=self._metrics,
            bootstrap=resamples,
            seed=seed,
            groups=predictions.groups,
        )

    def build_statistic(self, predictions: SplitPredictions, metric: str) -> Statistic:
        """The metric as a function of how often each image is drawn."""
        classes = predictions.snapshot.classes
        return detection_statistic(predictions.table, read_truths(predictions), classes, metric)

    def align_classes(
        self, old: tuple[str, ...], new: tuple[str, ...]
    ) -> Callable[[pa.Table], pa.Table] | None:
        """Boxes of other classes can't be compared."""
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
        """Truth beside prediction; worst: the most missed and false boxes."""
        rows = predictions.read_rows()
        table, classes = predictions.table, predictions.snapshot.classes
        score = min_score or 0.0
        shown = table.filter(pc.greater_equal(table["score"], score))
        mistakes = count_mistakes(shown, read_truths(predictions), classes, score)
        wrong = np.array([m.missed + m.false for m in mistakes])
        chosen = pick_cases(choice, np.where(wrong == 0, np.inf, -wrong), limit)
        return [_case(rows[n], show, shown, classes, mistakes[n], score) for n in chosen]

    def answered_classes(self, table: pa.Table) -> None:
        """Boxes are shown as they are: each has a class of its own."""


def build_detection(
    task: DetectionTask, head: Head, evaluation: EvaluationSection, *, keeps_head: bool
) -> Detection:
    """Build from the sections that it reads, and whether the detector is a published one as it is.

    Raises:
        PlanError: If the head is another task's.
    """
    if not isinstance(head, DetectionHead):
        raise PlanError(f"the head {head.kind} can't be built for detection", where="head.kind")
    return Detection(head, evaluation.metrics or task.metrics.names, keeps_head=keeps_head)


def _rows(image: str, found: Mapping[str, Tensor], first: int, inputs: PredictionInputs) -> pa.Table:
    width, height = inputs.sizes[image]
    boxes = inputs.transform.boxes_to_original(
        found["boxes"].float().cpu().numpy().astype(np.float32), (height, width)
    )
    keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    boxes = boxes[keep]
    labels = found["labels"].cpu().numpy()[keep] - first
    columns = [
        pa.array([image] * len(boxes), pa.string()),
        pa.array([inputs.classes[label] for label in labels], pa.string()),
        pa.array(found["scores"].float().cpu().numpy()[keep], pa.float32()),
        *(pa.array(boxes[:, i], pa.float32()) for i in range(4)),
    ]
    return pa.table(columns, schema=SCHEMA)


def read_truths(predictions: SplitPredictions) -> list[ImageTruth]:
    """True boxes of every image of the split, in the manifest's order."""
    return _truths(predictions.read_rows())


def _truths(rows: Sequence[Row]) -> list[ImageTruth]:
    return [ImageTruth(row.id, row.boxes) for row in rows]


def _case(
    row: Row,
    show: ShowRow,
    shown: pa.Table,
    classes: Sequence[str],
    mistakes: ImageMistakes,
    score: float,
) -> Picture:
    image = show(row)
    found = shown.filter(pc.equal(shown["id"], row.id)).to_pylist()
    boxes = [Box(r["x_min"], r["y_min"], r["x_max"], r["y_max"], r["label"]) for r in found]
    panels = (
        Panel(draw_boxes(image, row.boxes, classes), "truth"),
        Panel(draw_boxes(image, boxes, classes, [r["score"] for r in found]), "prediction"),
    )
    title = f"{mistakes.missed} missed, {mistakes.false} false, {mistakes.found} found"
    return Picture(panels, title, (row.id, f"boxes with a score of {score:.2f} or more"))
