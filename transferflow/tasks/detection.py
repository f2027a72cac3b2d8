"""Object detection: axis-aligned boxes with a class each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.data.records import Box, DatasetSnapshot, SplitName
from transferflow.data.snapshot.manifest import Row, read_groups, read_rows
from transferflow.errors import PlanError, TrainingError
from transferflow.evaluation.bootstrap import Statistic
from transferflow.evaluation.detection import (
    ImageMistakes,
    count_mistakes,
    detection_curves,
    detection_statistic,
    evaluate_detection,
)
from transferflow.evaluation.detection_matching import AREAS, ImageTruth, match_classes
from transferflow.evaluation.pictures import Choice, Panel, Picture, pick_evenly
from transferflow.evaluation.results import Evaluation
from transferflow.models.detection.build import build_detector
from transferflow.models.detection.inputs import to_torchvision_targets
from transferflow.spec import ExperimentSpec
from transferflow.spec.sections.head import DetectionHead
from transferflow.spec.sections.metrics import metric_names
from transferflow.spec.sections.task import DetectionTask
from transferflow.tasks.base import ModelParts, PredictionInputs
from transferflow.tasks.rendering.drawing import draw_boxes
from transferflow.tasks.rendering.viewable import load_viewable

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
    """Binds torchvision's detectors, their losses and COCO's metrics."""

    def build_model(
        self, spec: ExperimentSpec, classes: Sequence[str], *, pretrained: bool, device: str = "cpu"
    ) -> ModelParts:
        """Build backbone, feature pyramid and head."""
        built = build_detector(
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
        """The detector's own losses, each by its name."""
        background = _has_background(spec)

        def losses(model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            if isinstance(batch.targets, Tensor):
                raise TrainingError("detection targets are a list of boxes and labels per image")
            targets = to_torchvision_targets(batch.targets, background)
            found: Mapping[str, Tensor] = model(list(batch.images), targets)
            return found

        return losses

    def predict(self, spec: ExperimentSpec, model: nn.Module, inputs: PredictionInputs) -> pa.Table:
        """One row per box, in pixels of the original image; an image without boxes has no row."""
        device = next(model.parameters()).device
        first = int(_has_background(spec))
        tables = [SCHEMA.empty_table()]
        with torch.inference_mode():
            for batch in inputs.batches:
                for image, found in zip(batch.ids, model(list(batch.images.to(device))), strict=True):
                    tables.append(_rows(image, found, first, inputs))
        return pa.concat_tables(tables)

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
        """Measure as COCO does, against the snapshot's boxes, on every image of the split."""
        return evaluate_detection(
            predictions,
            read_truths(snapshot, split),
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
        return detection_statistic(predictions, read_truths(snapshot, split), snapshot.classes, metric)

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
        """Truth beside prediction; worst: the most missed and false boxes."""
        rows = {row.id: row for row in read_rows(snapshot, split)}
        classes = snapshot.classes
        score = min_score or 0.0
        shown = predictions.filter(pc.greater_equal(predictions["score"], score))
        mistakes = count_mistakes(shown, read_truths(snapshot, split), classes, score)
        if choice == "worst":
            wrong = [m for m in mistakes if m.missed + m.false > 0]
            chosen = sorted(wrong, key=lambda m: (-(m.missed + m.false), m.id))[:limit]
        else:
            chosen = pick_evenly(mistakes, limit)
        return [_case(spec, rows[m.id], shown, classes, m, score) for m in chosen]


def build_detection(task: DetectionTask) -> Detection:
    """Build from the `task` section."""
    return Detection()


def _head(spec: ExperimentSpec) -> DetectionHead:
    if not isinstance(spec.head, DetectionHead):
        raise PlanError(f"the head {spec.head.kind} can't be built for detection", where="head.kind")
    return spec.head


def _has_background(spec: ExperimentSpec) -> bool:
    return _head(spec).kind == "faster_rcnn"


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


def read_truths(snapshot: DatasetSnapshot, split: SplitName) -> list[ImageTruth]:
    """True boxes of every image of the split, in the manifest's order."""
    return [ImageTruth(row.id, row.boxes) for row in read_rows(snapshot, split)]


def best_score(predictions: pa.Table, truths: Sequence[ImageTruth], classes: Sequence[str]) -> float:
    """Least score that a box needs for the largest F1 at IoU 0.5, 0..1."""
    matches = match_classes(predictions, truths, classes, tuple(AREAS))
    thresholds = detection_curves(matches, classes)["thresholds"]
    return float(thresholds["best"]) if isinstance(thresholds, dict) else 0.0


def _case(
    spec: ExperimentSpec,
    row: Row,
    shown: pa.Table,
    classes: Sequence[str],
    mistakes: ImageMistakes,
    score: float,
) -> Picture:
    image = load_viewable(row.absolute_path, spec.data.channels, spec.data.intensity)
    found = shown.filter(pc.equal(shown["id"], row.id)).to_pylist()
    boxes = [Box(r["x_min"], r["y_min"], r["x_max"], r["y_max"], r["label"]) for r in found]
    panels = (
        Panel(draw_boxes(image, row.boxes, classes), "truth"),
        Panel(draw_boxes(image, boxes, classes, [r["score"] for r in found]), "prediction"),
    )
    title = f"{mistakes.missed} missed, {mistakes.false} false, {mistakes.found} found"
    return Picture(panels, title, (row.id, f"boxes with a score of {score:.2f} or more"))
