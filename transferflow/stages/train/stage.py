"""Stage 2: a snapshot becomes a trained model, with its history and the freeze proof."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferflow.data.snapshot.build import load_snapshot
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import gate_metric, trains_nothing
from transferflow.stages.artifacts import HISTORY
from transferflow.stages.context import RunContext
from transferflow.stages.names import require_known_classes
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.progress import logger
from transferflow.stages.told import tell_inputs
from transferflow.stages.train.key import complete_train_inputs
from transferflow.text import counted, four_digits


def train(spec: ExperimentSpec, context: RunContext, prepared: StageOutcome) -> StageOutcome:
    """Train the spec's model on the snapshot; resume an unfinished run, reuse a finished one.

    Raises:
        PlanError: If the spec names a class that the snapshot has not.
        WeightsError: If the pretrained weights are not to be had.
        TrainingError: If the loss is not finite, or a frozen parameter changed.
        InterruptedRunError: If the user stops it; the same command resumes.
    """
    started = time.perf_counter()
    snapshot = load_snapshot(prepared.folder)
    require_known_classes(spec, snapshot.classes)
    made_from = complete_train_inputs(spec, context, snapshot)
    key = made_from.key
    tell_inputs(spec, context, "train", key, made_from.inputs)

    def write(folder: Path) -> None:
        # These load torch and timm, which reuse does not need.
        from transferflow.stages.train.assembly import FitInputs
        from transferflow.stages.train.nodes import fit_as_owner
        from transferflow.stages.train.spread import fit_on_devices

        work = context.store.work_folder("train", key)
        given = FitInputs(spec, context, snapshot, made_from.start, work, folder)
        if context.owner is None or trains_nothing(spec):
            fit_on_devices(given)
        else:
            fit_as_owner(given, context.owner, prepared.key, made_from)

    artifact = context.store.obtain("train", key, made_from.inputs, write, wait=context.wait)
    if context.owner is not None:
        context.owner.finish()  # what is left is done here
    context.store.remember_inputs("train", spec.name, made_from.inputs)
    history = json.loads((artifact.path / HISTORY).read_text())
    kept = describe_kept(spec, history)
    if not artifact.reused:
        logger.info("train: kept %s", kept)
    if skipped := count_skipped(history):
        logger.warning(
            "train: %s left out, as a loss or the gradient was not finite", counted(skipped, "step")
        )
    summary = {
        "metric": history["metric"],
        "best_value": history["best_value"],
        "best_epoch": history["best_epoch"],
        "epochs": len(history["epochs"]),
        "kept": kept,
        "train_seconds": sum(row.get("seconds", 0.0) for row in history["epochs"]),
        "frozen_tensors_unchanged": all(p["before"] == p["after"] for p in history["freeze_proof"]),
    }
    seconds = time.perf_counter() - started
    return StageOutcome("train", key, str(artifact.path), artifact.reused, seconds, summary)


def count_skipped(history: Mapping[str, Any]) -> int:
    """Steps that were left out of a training, see `training.on_nan`.

    Args:
        history: The stage's `history.json`.
    """
    return int(sum(row.get("skipped_steps", 0) for row in history["epochs"]))


def describe_kept(spec: ExperimentSpec, history: Mapping[str, Any]) -> str:
    """Say which epoch's weights are the model, by which metric they were chosen, and why training ended.

    Args:
        spec: What was trained.
        history: The stage's `history.json`.
    """
    metric, done = history["metric"], len(history["epochs"])
    if history["best_value"] is None:
        return "the weights as they came: nothing is trained, and no image is left to validate on"
    value = f"validation {metric} {four_digits(history['best_value'])}"
    if trains_nothing(spec):
        return f"the weights as they came: nothing is trained ({value})"
    whose = ", the gate's metric" if metric == gate_metric(spec) else ""
    kept = f"epoch {history['best_epoch'] + 1} of {done}, the best by {value}{whose}"
    stopping = spec.training.early_stopping
    if not history["stopped_early"] or stopping is None:
        return kept
    planned = f"{counted(spec.training.epochs, 'epoch was', 'epochs were')} allowed"
    worse = f"{counted(stopping.patience, 'epoch')} that did no better"
    return f"{kept}; stopped early, after {worse} ({planned})"
