"""The work of the evaluate stage: predict the test images and measure the predictions."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from transferflow.data.records import DatasetSnapshot
from transferflow.errors import EvaluationError
from transferflow.evaluation.results import evaluation_to_json
from transferflow.evaluation.slices import Slicing
from transferflow.spec import ExperimentSpec
from transferflow.stages.artifacts import HISTORY, MASKS, METRICS, PREDICTIONS, TEMPERATURE, THRESHOLDS
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.baselines import measure_baselines
from transferflow.stages.evaluate.predict import predict_split
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.progress import logger
from transferflow.store import write_atomic
from transferflow.tasks.build import build_task
from transferflow.tasks.calibration import tell_calibration
from transferflow.tasks.decisions import tell_decision
from transferflow.tasks.slices import measure_slices
from transferflow.text import counted


@dataclass(frozen=True)
class Measuring:
    """What is measured.

    Attributes:
        spec: Says how.
        context: Surroundings of the run.
        prepared: The stage that the images came from.
        snapshot: The images.
        model: Folder of the bundle.
        slices: Which slices the test images are in.
    """

    spec: ExperimentSpec
    context: RunContext
    prepared: StageOutcome
    snapshot: DatasetSnapshot
    model: Path
    slices: tuple[Slicing, ...] = ()


def measure(given: Measuring, folder: Path) -> None:
    """Write predictions and metrics of the test split, of its slices, and of the baselines into `folder`.

    Raises:
        EvaluationError: If there are no test images.
        WeightsError: If baselines are asked for whose weights are not to be had.
    """
    spec, context, snapshot = given.spec, given.context, given.snapshot
    if snapshot.counts["test"] == 0:
        raise EvaluationError(
            "there are no test images", where="data.split.test", hint="give the test split a share or files"
        )
    logger.info("evaluate: %s", counted(snapshot.counts["test"], "test image"))
    found = predict_split(spec, context, snapshot, given.model, folder / MASKS)
    pq.write_table(found.table, folder / PREDICTIONS)
    task, resamples, seed = build_task(spec), spec.evaluation.bootstrap, spec.training.seed
    evaluation = replace(
        task.evaluate(found, resamples=resamples, seed=seed),
        slices=measure_slices(task, found, given.slices, resamples=resamples, seed=seed),
    )
    history = json.loads((given.model / HISTORY).read_text())
    evaluation = tell_calibration(spec, found, evaluation, history.get(TEMPERATURE))
    evaluation = tell_decision(spec, found, evaluation, history.get(THRESHOLDS) or {})
    with tempfile.TemporaryDirectory() as masks:
        baselines = measure_baselines(spec, context, snapshot, given.prepared, Path(masks))
    write_atomic(folder / METRICS, evaluation_to_json(replace(evaluation, baselines=baselines)))
