"""The work of the evaluate stage: predict the test images and measure the predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from transferflow.data.records import DatasetSnapshot
from transferflow.errors import EvaluationError
from transferflow.evaluation.results import evaluation_to_json
from transferflow.evaluation.slices import Slicing
from transferflow.spec import ExperimentSpec
from transferflow.stages.artifacts import HISTORY, MASKS, METRICS, PREDICTIONS, TEMPERATURE
from transferflow.stages.context import RunContext
from transferflow.stages.progress import logger
from transferflow.stages.split_images import build_split_images
from transferflow.store import write_atomic
from transferflow.tasks.base import SplitPredictions
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import load_bundle
from transferflow.tasks.calibration import tell_calibration
from transferflow.tasks.slices import measure_slices
from transferflow.training.device import pick_device


def measure(
    spec: ExperimentSpec,
    context: RunContext,
    snapshot: DatasetSnapshot,
    model: Path,
    folder: Path,
    slices: Sequence[Slicing] = (),
) -> None:
    """Write predictions and metrics of the test split, and of its slices, into `folder`.

    Raises:
        EvaluationError: If there are no test images.
    """
    if snapshot.counts["test"] == 0:
        raise EvaluationError(
            "there are no test images", where="data.split.test", hint="give the test split a share or files"
        )
    logger.info("evaluate: %d test images", snapshot.counts["test"])
    found = predict_split(spec, context, snapshot, model, folder / MASKS)
    pq.write_table(found.table, folder / PREDICTIONS)
    task, resamples, seed = build_task(spec), spec.evaluation.bootstrap, spec.training.seed
    evaluation = task.evaluate(found, resamples=resamples, seed=seed)
    parts = measure_slices(task, found, slices, resamples=resamples, seed=seed)
    evaluation = replace(evaluation, slices=parts)
    evaluation = tell_calibration(spec, found, evaluation, _temperature(model))
    write_atomic(folder / METRICS, evaluation_to_json(evaluation))


def _temperature(model: Path) -> float | None:
    found: float | None = json.loads((model / HISTORY).read_text()).get(TEMPERATURE)
    return found


def predict_split(
    spec: ExperimentSpec, context: RunContext, snapshot: DatasetSnapshot, model: Path, masks: Path
) -> SplitPredictions:
    """Predict the snapshot's test images with the bundle in `model`, through the bundle's own transform."""
    bundle = load_bundle(model, pick_device(spec.training.device))
    images = build_split_images(spec, snapshot, "test", bundle.transform, context.decoded_images)
    return images.predict(build_task(bundle.spec), bundle.model, bundle.classes, masks)
