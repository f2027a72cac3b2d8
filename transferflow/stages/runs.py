"""The finished runs of a home, read from its artifacts: nothing is computed, nothing loads torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from transferflow.errors import EvaluationError
from transferflow.evaluation.results import MetricValue
from transferflow.stages.artifacts import HISTORY, REGISTRATION
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.stage import read_evaluation
from transferflow.stages.keys import changed_inputs
from transferflow.store import Artifact
from transferflow.text import four_digits


@dataclass(frozen=True)
class RunRecord:
    """One finished run.

    Attributes:
        name: The spec's name.
        model: Name of the registered model.
        version: Its number in the registry.
        decided: When the verdict was reached, in UTC.
        verdict: PROMOTE, HOLD or REJECT.
        reasons: Why.
        metrics: On the test images, by name.
        metric: The metric that decided.
        lower_is_better: Whether less of it is better.
        seconds: Training time; `None` where the training is gone.
        report_key: Key of the register stage.
        evaluation_key: Key of the evaluate stage.
        train_key: Key of the train stage.
        changed: What of the training differs from the spec's run before, in words.
    """

    name: str
    model: str
    version: int
    decided: str
    verdict: str
    reasons: tuple[str, ...]
    metrics: Mapping[str, MetricValue]
    metric: str
    lower_is_better: bool
    seconds: float | None
    report_key: str
    evaluation_key: str
    train_key: str
    changed: tuple[str, ...] = ()

    @property
    def value(self) -> MetricValue | None:
        """The metric that decided; `None` where the evaluation is gone."""
        return self.metrics.get(self.metric)


def list_runs(context: RunContext) -> list[RunRecord]:
    """Every run whose verdict is in the home, the latest first; a damaged record is passed over."""
    found = (_read(context, artifact) for artifact in context.store.recorded("register"))
    former: dict[str, RunRecord] = {}
    runs: list[RunRecord] = []
    for run in sorted((run for run in found if run is not None), key=lambda run: run.decided):
        before = former.get(run.name)
        runs.append(replace(run, changed=_changes(context, before, run)) if before else run)
        former[run.name] = run
    return runs[::-1]


def _changes(context: RunContext, before: RunRecord, run: RunRecord) -> tuple[str, ...]:
    old, new = (context.store.recorded_one("train", one.train_key or "none") for one in (before, run))
    return tuple(changed_inputs(old.inputs, new.inputs)) if old and new else ()


def _read(context: RunContext, artifact: Artifact) -> RunRecord | None:
    inputs = artifact.inputs
    try:
        registered = json.loads((artifact.path / REGISTRATION).read_text())
        evaluated = context.store.recorded_one("evaluate", inputs["evaluation"])
        train_key = str(evaluated.inputs["model"]) if evaluated else ""
        return RunRecord(
            name=inputs["name"],
            model=registered["model"],
            version=registered["version"],
            decided=registered["decided"],
            verdict=registered["verdict"],
            reasons=tuple(registered["reasons"]),
            metrics=read_evaluation(evaluated.path).metrics if evaluated else {},
            metric=registered.get("metric") or inputs["registration"]["gate"]["metric"] or "",
            lower_is_better=bool(registered.get("lower_is_better", False)),
            seconds=_training_seconds(context, train_key),
            report_key=artifact.key,
            evaluation_key=inputs["evaluation"],
            train_key=train_key,
        )
    except (OSError, ValueError, KeyError, TypeError, EvaluationError):
        return None


def _training_seconds(context: RunContext, key: str) -> float | None:
    trained = context.store.recorded_one("train", key) if key else None
    if trained is None:
        return None
    try:
        epochs: list[dict[str, Any]] = json.loads((trained.path / HISTORY).read_text())["epochs"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return sum(float(epoch.get("seconds", 0.0)) for epoch in epochs)


def describe_metric(run: RunRecord) -> str:
    """The metric that decided, with its interval."""
    value = run.value
    if value is None or math.isnan(value.value):
        return f"{run.metric} not measured"
    interval = "" if value.low is None else f" ({value.low:.3f} to {value.high:.3f})"
    return f"{run.metric} {four_digits(value.value)}{interval}"


def describe_changes(run: RunRecord, shown: int) -> str:
    """What differs from the spec's run before: the first ones, and how many more."""
    more = len(run.changed) - shown
    return "; ".join(run.changed[:shown]) + (f"; … {more} more" if more > 0 else "")
