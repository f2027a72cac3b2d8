"""Stage 3: a trained model meets the test images."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot import load_snapshot
from transferflow.errors import EvaluationError
from transferflow.evaluation.results import Evaluation, MetricValue
from transferflow.spec import ExperimentSpec
from transferflow.stages.assemble import eval_loader, prediction_inputs
from transferflow.stages.context import RunContext
from transferflow.stages.keys import evaluate_inputs
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.watch import logger
from transferflow.store import digest, write_atomic
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import load_bundle
from transferflow.training.device import pick_device

METRICS, PREDICTIONS, MASKS = "metrics.json", "predictions.parquet", "masks"


def evaluate(
    spec: ExperimentSpec, context: RunContext, prepared: StageOutcome, trained: StageOutcome
) -> StageOutcome:
    """Measure the model on the test split, with intervals; write predictions and metrics.

    Raises:
        EvaluationError: If there are no test images.
    """
    started = time.perf_counter()
    snapshot = load_snapshot(prepared.folder)
    inputs = evaluate_inputs(spec, snapshot.fingerprint, trained.key)
    key = digest(inputs)
    found = context.store.find("evaluate", key)
    artifact = found or context.store.publish(
        "evaluate", key, inputs, lambda folder: _evaluate(spec, context, snapshot, trained.folder, folder)
    )
    context.store.remember_inputs("evaluate", spec.name, inputs)
    evaluation = load_evaluation(artifact.path)
    summary = {
        "images": evaluation.images,
        "metrics": {
            name: {"value": m.value, "low": m.low, "high": m.high} for name, m in evaluation.metrics.items()
        },
    }
    seconds = time.perf_counter() - started
    return StageOutcome("evaluate", key, str(artifact.path), found is not None, seconds, summary)


def _evaluate(
    spec: ExperimentSpec, context: RunContext, snapshot: DatasetSnapshot, model: Path, folder: Path
) -> None:
    if snapshot.counts["test"] == 0:
        raise EvaluationError(
            "there are no test images", where="data.split.test", hint="give the test split a share or files"
        )
    logger.info("evaluate: %d test images", snapshot.counts["test"])
    predictions = predict_split(spec, context, snapshot, model, folder / MASKS)
    pq.write_table(predictions, folder / PREDICTIONS)
    evaluation = build_task(spec.task).evaluate(
        spec, predictions, snapshot, "test", folder=folder / MASKS, intervals=True
    )
    write_atomic(folder / METRICS, json.dumps(_plain(evaluation), indent=2))


def predict_split(
    spec: ExperimentSpec, context: RunContext, snapshot: DatasetSnapshot, model: Path, masks: Path
) -> Any:  # noqa: ANN401  a pyarrow table; pyarrow has no types
    """Predict the snapshot's test images with the bundle in `model`, through the bundle's own transform."""
    bundle = load_bundle(model, pick_device(spec.training.device))
    cache = context.home / "cache" / "decoded"
    loader = eval_loader(spec, snapshot, "test", bundle.transform, cache)
    inputs = prediction_inputs(loader, snapshot, "test", bundle.transform, bundle.classes, masks)
    return build_task(bundle.spec.task).predict(bundle.spec, bundle.model, inputs)


def _plain(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "images": evaluation.images,
        "metrics": {
            name: {
                "value": _finite(m.value),
                "low": _finite(m.low),
                "high": _finite(m.high),
                "reason": m.reason,
            }
            for name, m in evaluation.metrics.items()
        },
        "per_class": {
            name: {metric: _finite(value) for metric, value in row.items()}
            for name, row in evaluation.per_class.items()
        },
        "curves": evaluation.curves,
    }


def load_evaluation(folder: Path) -> Evaluation:
    """Read `metrics.json` back."""
    data = json.loads((folder / METRICS).read_text())
    return Evaluation(
        metrics={name: _metric(m) for name, m in data["metrics"].items()},
        per_class={
            name: {metric: math.nan if value is None else value for metric, value in row.items()}
            for name, row in data["per_class"].items()
        },
        images=data["images"],
        curves=data["curves"],
    )


def _metric(data: Mapping[str, Any]) -> MetricValue:
    value = data["value"]
    return MetricValue(math.nan if value is None else value, data["low"], data["high"], data["reason"])


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
