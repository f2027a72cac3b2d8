"""The test images through a bundle."""

from __future__ import annotations

from pathlib import Path

from transferflow.allocator import keep_freed_memory
from transferflow.data.records import DatasetSnapshot
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.split_images import build_split_images
from transferflow.tasks.base import SplitPredictions
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import load_for_answers
from transferflow.training.device import pick_device


def predict_split(
    spec: ExperimentSpec, context: RunContext, snapshot: DatasetSnapshot, model: Path, masks: Path
) -> SplitPredictions:
    """Predict the snapshot's test images with the bundle in `model`, through the bundle's own transform."""
    keep_freed_memory()
    bundle = load_for_answers(model, pick_device(spec.training.device))
    images = build_split_images(spec, snapshot, "test", bundle.transform, context.decoded_images)
    return images.predict(build_task(bundle.spec), bundle.model, bundle.classes, masks)
