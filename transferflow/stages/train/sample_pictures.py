"""Training images as the model sees them: varied, fitted, with their boxes and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from transferflow.data.loading.dataset import ImageDataset, build_dataset
from transferflow.data.records import Box, DatasetSnapshot
from transferflow.data.snapshot.manifest import read_rows
from transferflow.data.snapshot.rows import Row, Rows
from transferflow.data.transforms.sample import VOID, Sample
from transferflow.data.transforms.training import TrainTransform, build_train_transform
from transferflow.evaluation.pictures import ImageArray, Panel, Picture
from transferflow.report.sample_sheet import write_sample_sheet
from transferflow.spec import ExperimentSpec
from transferflow.spec.sections.augmentation import OneOf
from transferflow.spec.sections.truth import MaskTruth
from transferflow.stages.split_images import eval_transform_of
from transferflow.tasks.build import build_parts
from transferflow.tasks.rendering.drawing import class_colour, draw_boxes, draw_mask
from transferflow.tasks.rendering.viewable import viewable

_BACKGROUND = 0


def train_transform_of(spec: ExperimentSpec, classes: Sequence[str]) -> TrainTransform:
    """The spec's training transform; the model is looked at, but not loaded."""
    parts = build_parts(spec, classes, pretrained=False, device="meta")
    base = eval_transform_of(spec, parts.preprocessing)
    return build_train_transform(spec.augmentation, base, spec.task.truth.moving)


def describe_steps(transform: TrainTransform) -> tuple[str, ...]:
    """The variations in words, in order."""
    words = []
    for step in transform.steps:
        candidates = step.one_of if isinstance(step, OneOf) else (step,)
        names = " or ".join(candidate.name for candidate in candidates)
        words.append(f"{names} ({step.probability:.0%})")
    words += [f"{name} (alpha {getattr(transform, name):g})" for name in ("mixup", "cutmix")]
    if transform.base.mode == "whole":
        words.append("a random window")
    return tuple(word for word in words if not word.endswith("(alpha 0)"))


def write_training_sheet(
    path: Path,
    spec: ExperimentSpec,
    snapshot: DatasetSnapshot,
    transform: TrainTransform,
    *,
    images: int,
    epochs: int,
    varied: ImageDataset | None = None,
) -> int:
    """Write one HTML file with training images, their boxes and masks drawn; see `sample_pictures`.

    Args:
        path: Where to; replaced in one step if it exists.
        spec: Its name, task and seed count.
        snapshot: The data set.
        transform: The training transform.
        images: How many images.
        epochs: How many variations of each.
        varied: The training images as they are loaded.

    Returns:
        How many images there are on it.
    """
    rows = read_rows(snapshot, "train")
    pictures = sample_pictures(spec, snapshot, transform, rows, images=images, epochs=epochs, varied=varied)
    legend = [(name, f"rgb{class_colour(number)}") for number, name in enumerate(snapshot.classes)]
    facts = {
        "training images": f"{snapshot.counts['train']:,}",
        "image size": transform.base.in_words,
        "channels": str(transform.base.channels),
    }
    caption = f"Augmentation: {', '.join(describe_steps(transform)) or 'none'}."
    is_drawn = spec.task.truth.moving is not None
    write_sample_sheet(path, spec.name, facts, caption, legend if is_drawn else (), pictures)
    return len(pictures)


def sample_pictures(
    spec: ExperimentSpec,
    snapshot: DatasetSnapshot,
    transform: TrainTransform,
    rows: Rows,
    *,
    images: int,
    epochs: int,
    varied: ImageDataset | None = None,
) -> list[Picture]:
    """Draw training images: as evaluation sees them, and as the first epochs of training do.

    Args:
        spec: Its task and seed count.
        snapshot: The data set.
        transform: The training transform.
        rows: The training images.
        images: How many of them, spread evenly over the split.
        epochs: How many variations of each.
        varied: The training images as they are loaded, which may be decoded already.

    Raises:
        DataError: If an image can't be read.
    """
    truth, hidden = spec.task.truth, [_BACKGROUND, VOID]
    if isinstance(truth, MaskTruth):
        hidden.append(truth.ignored_value)
    plain = build_dataset(snapshot, rows, transform.base, truth, spec.training.seed)
    varied = varied or build_dataset(snapshot, rows, transform, truth, spec.training.seed)

    def draw(sample: Sample) -> ImageArray:
        return _draw(replace(sample, image=transform.base.show(sample.image)), snapshot.classes, hidden)

    pictures = []
    for place in np.unique(np.linspace(0, len(rows) - 1, images).round().astype(int)).tolist():
        panels = [Panel(draw(plain[0, place]), "evaluation")]
        if transform.is_varied:
            panels += [Panel(draw(varied[epoch, place]), f"epoch {epoch + 1}") for epoch in range(epochs)]
        row = rows[place]
        pictures.append(Picture(tuple(panels), _title(row), (row.id, f"{row.width} x {row.height} pixels")))
    return pictures


def _title(row: Row) -> str:
    if row.mask is not None:
        return ""
    return ", ".join(row.labels) or f"{len(row.boxes)} objects"


def _draw(sample: Sample, classes: Sequence[str], hidden: Sequence[int]) -> ImageArray:
    shown = viewable(sample.image)
    if sample.boxes is not None and sample.labels is not None:
        boxes = [
            Box(x_min, y_min, x_max, y_max, classes[label])
            for (x_min, y_min, x_max, y_max), label in zip(
                sample.boxes.tolist(), sample.labels.tolist(), strict=True
            )
        ]
        return draw_boxes(shown, boxes, classes)
    return shown if sample.mask is None else draw_mask(shown, sample.mask, hidden)
