"""Stage 2: a snapshot becomes a trained model, with its history and the freeze proof."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot import load_snapshot
from transferflow.spec import ExperimentSpec
from transferflow.stages.assemble import compile_job, eval_transform_of, watched_metric
from transferflow.stages.context import RunContext
from transferflow.stages.keys import train_inputs
from transferflow.stages.layers import TrainingPlan, compile_training_plan
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.watch import logger
from transferflow.store import Artifact, digest, write_atomic
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import save_bundle
from transferflow.training.job import TrainingResult
from transferflow.training.loop import train as run_loop
from transferflow.training.progress import build_hook

HISTORY = "history.json"


def train(spec: ExperimentSpec, context: RunContext, prepared: StageOutcome) -> StageOutcome:
    """Train the spec's model on the snapshot; resume an unfinished run, reuse a finished one.

    Raises:
        WeightsError: If the pretrained weights are not to be had.
        TrainingError: If the loss is not finite, or a frozen parameter changed.
        InterruptedRunError: If the user stops it; the same command resumes.
    """
    started = time.perf_counter()
    snapshot = load_snapshot(prepared.folder)
    inputs = train_inputs(spec, snapshot.fingerprint)
    key = digest(inputs)
    found = context.store.find("train", key)
    artifact = found or _train(spec, context, snapshot, key, inputs)
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


def _train(
    spec: ExperimentSpec, context: RunContext, snapshot: DatasetSnapshot, key: str, inputs: dict[str, Any]
) -> Artifact:
    task = build_task(spec.task)
    parts = task.build_model(spec, snapshot.classes, pretrained=True)
    plan = compile_training_plan(spec, parts)
    job = compile_job(
        spec,
        snapshot,
        task,
        parts,
        plan,
        folder=context.store.work_folder("train", key),
        cache=context.home / "cache" / "decoded",
        hooks=[build_hook(context.interactive)],
    )
    trains = [row.group for row in plan.rows if any(row.trains)]
    logger.info("train: %d images, training %s", snapshot.counts["train"], ", ".join(trains))
    result = run_loop(job)

    def write(folder: Path) -> None:
        transform = eval_transform_of(spec, parts.preprocessing)
        save_bundle(folder, spec, snapshot.classes, transform, parts.model)
        write_atomic(folder / HISTORY, json.dumps(_history(spec, plan, result), indent=2))

    return context.store.publish("train", key, inputs, write)


def _history(spec: ExperimentSpec, plan: TrainingPlan, result: TrainingResult) -> dict[str, object]:
    return {
        "metric": watched_metric(spec),
        "best_epoch": result.best_epoch,
        "best_value": result.best_value,
        "stopped_early": result.stopped_early,
        "precision": result.precision,
        "device": result.device,
        "epochs": [dict(row) for row in result.history],
        "layers": [asdict(row) for row in plan.rows],
        "phases": [
            {"first_epoch": p.first_epoch, "frozen": sorted(p.frozen), "lr_scale": p.lr_scale}
            for p in plan.freeze.phases
        ],
        "freeze_proof": [asdict(proof) for proof in result.proofs],
    }
