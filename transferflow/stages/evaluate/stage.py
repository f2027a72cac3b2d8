"""Stage 3: a trained model meets the test images."""

from __future__ import annotations

import time
from pathlib import Path

from transferflow.data.snapshot.build import load_snapshot
from transferflow.evaluation.results import Evaluation, load_evaluation
from transferflow.evaluation.slices import say_worst
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import gate_metric
from transferflow.stages.artifacts import METRICS
from transferflow.stages.context import RunContext
from transferflow.stages.keys import evaluate_inputs
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.slices import read_slices
from transferflow.stages.told import tell_inputs
from transferflow.store import digest


def evaluate(
    spec: ExperimentSpec, context: RunContext, prepared: StageOutcome, trained: StageOutcome
) -> StageOutcome:
    """Measure the model on the test split, with intervals; write predictions and metrics.

    Raises:
        EvaluationError: If there are no test images.
    """
    started = time.perf_counter()
    snapshot = load_snapshot(prepared.folder)
    slices = read_slices(spec, snapshot)
    inputs = evaluate_inputs(spec, snapshot, trained.key, slices)
    key = digest(inputs)
    tell_inputs(spec, context, "evaluate", key, inputs)

    def write(folder: Path) -> None:
        # Loads torch, which reuse does not need.
        from transferflow.stages.evaluate.measure import Measuring, measure

        measure(Measuring(spec, context, prepared, snapshot, trained.folder, slices), folder)

    artifact = context.store.obtain("evaluate", key, inputs, write, wait=context.wait)
    context.store.remember_inputs("evaluate", spec.name, inputs)
    evaluation = read_evaluation(artifact.path)
    summary = {
        "images": evaluation.images,
        "metrics": {
            name: {"value": m.value, "low": m.low, "high": m.high, "reason": m.reason}
            for name, m in evaluation.metrics.items()
        },
        "worst_slices": _worst_slices(spec, evaluation),
        "baselines": {name: values[gate_metric(spec)].value for name, values in evaluation.baselines.items()},
    }
    seconds = time.perf_counter() - started
    return StageOutcome("evaluate", key, str(artifact.path), artifact.reused, seconds, summary)


def _worst_slices(spec: ExperimentSpec, evaluation: Evaluation) -> list[str]:
    metric = gate_metric(spec)
    lower = metric in spec.task.metrics.lower_is_better
    return [say_worst(by, slices, metric, lower_is_better=lower) for by, slices in evaluation.slices.items()]


def read_evaluation(folder: Path) -> Evaluation:
    """Read `metrics.json` of an evaluate artifact."""
    return load_evaluation((folder / METRICS).read_text(encoding="utf-8"))
