"""Stage 2: a snapshot becomes a trained model, with its history and the freeze proof."""

from __future__ import annotations

import json
import time
from typing import Any

from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.build import load_snapshot
from transferflow.spec import ExperimentSpec
from transferflow.stages.artifacts import HISTORY
from transferflow.stages.context import RunContext
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.train.key import complete_train_inputs
from transferflow.store import Artifact, digest


def train(spec: ExperimentSpec, context: RunContext, prepared: StageOutcome) -> StageOutcome:
    """Train the spec's model on the snapshot; resume an unfinished run, reuse a finished one.

    Raises:
        WeightsError: If the pretrained weights are not to be had.
        TrainingError: If the loss is not finite, or a frozen parameter changed.
        InterruptedRunError: If the user stops it; the same command resumes.
    """
    started = time.perf_counter()
    snapshot = load_snapshot(prepared.folder)
    inputs = complete_train_inputs(spec, context, snapshot.fingerprint)
    key = digest(inputs)
    found = context.store.find("train", key)
    artifact = found or _fit(spec, context, snapshot, key, inputs)
    context.store.remember_inputs("train", spec.name, inputs)
    history = json.loads((artifact.path / HISTORY).read_text())
    summary = {
        "metric": history["metric"],
        "best_value": history["best_value"],
        "best_epoch": history["best_epoch"],
        "epochs": len(history["epochs"]),
        "train_seconds": sum(row.get("seconds", 0.0) for row in history["epochs"]),
        "frozen_tensors_unchanged": all(p["before"] == p["after"] for p in history["freeze_proof"]),
    }
    seconds = time.perf_counter() - started
    return StageOutcome("train", key, str(artifact.path), found is not None, seconds, summary)


def _fit(
    spec: ExperimentSpec, context: RunContext, snapshot: DatasetSnapshot, key: str, inputs: dict[str, Any]
) -> Artifact:
    from transferflow.stages.train.fit import fit  # loads torch and timm: not needed where training is reused

    work = context.store.work_folder("train", key)
    return context.store.publish("train", key, inputs, fit(spec, context, snapshot, work))
