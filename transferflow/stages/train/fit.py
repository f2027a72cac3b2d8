"""The work of the train stage: build the model, run the loop, write the bundle."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from math import nan
from pathlib import Path

from torch import nn

from transferflow.allocator import keep_freed_memory
from transferflow.models.heads import apply_temperature
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import trains_nothing, watched_metric
from transferflow.stages.artifacts import HISTORY, THRESHOLDS
from transferflow.stages.artifacts import TEMPERATURE as FOLDED_TEMPERATURE
from transferflow.stages.progress import logger
from transferflow.stages.split_images import SplitImages, eval_transform_of
from transferflow.stages.train.assembly import FitInputs, assemble
from transferflow.stages.train.head_start import apply_head_start
from transferflow.stages.train.layers import TrainingPlan
from transferflow.stages.train.preflight import keep_preflight, look_before_first_epoch
from transferflow.stages.train.settings import loop_settings
from transferflow.stages.train.tracking import train_watched
from transferflow.stages.train.training_plan import compile_training_plan
from transferflow.store import write_atomic
from transferflow.tasks.base import MIN_SCORE, TEMPERATURE
from transferflow.tasks.build import build_parts, build_task
from transferflow.tasks.bundle import save_bundle
from transferflow.tasks.decisions import fit_decision
from transferflow.training.device import pick_device
from transferflow.training.job import FreezePhase, LoopSettings, TrainingResult, TrainJob
from transferflow.training.loop.build import arithmetic_of
from transferflow.training.ranks import ALONE, Ranks


def fit(given: FitInputs, ranks: Ranks = ALONE) -> None:
    """Train, and write bundle and history into a folder; of several processes rank 0 writes.

    Args:
        given: What to train, on what, and where the result goes.
        ranks: The processes that train the model together.
    """
    keep_freed_memory()
    spec, snapshot = given.spec, given.snapshot
    if not (snapshot.counts["train"] and snapshot.counts["val"]):
        _ship_unseen(given)
        return
    ready = assemble(given, ranks)
    job = ready.job
    trains = [row.group for row in ready.plan.rows if any(row.trains)]
    logger.info("train: %d images, training %s", snapshot.counts["train"], ", ".join(trains) or "nothing")
    look_before_first_epoch(given, ready, ranks)
    watched = (spec, given.context, given.work.name)
    result = _as_it_is(job) if trains_nothing(spec) else train_watched(job, *watched)
    if ranks.rank == 0:
        kept = result.history[result.best_epoch]
        if TEMPERATURE in kept:
            apply_temperature(job.model.get_submodule("head"), kept[TEMPERATURE])
        history = _history(spec, ready.plan, result) | {
            THRESHOLDS: _decide(spec, job.model, ready.images.validation)
        }
        transform, score = ready.images.validation.transform, kept.get(MIN_SCORE)
        save_bundle(given.folder, spec, snapshot.classes, transform, job.model, min_score=score)
        write_atomic(given.folder / HISTORY, json.dumps(history, indent=2))
        keep_preflight(given.work, given.folder)


def _ship_unseen(given: FitInputs) -> None:
    """Ship a model that is only measured: the data has no image to learn from, or to validate on."""
    spec, classes = given.spec, given.snapshot.classes
    parts = build_parts(spec, classes, pretrained=True)
    transform = eval_transform_of(spec, parts.preprocessing)
    apply_head_start(spec, given.context, given.snapshot, parts, given.start, transform)
    logger.info("train: nothing, as there is no image to train or to validate on")
    result = _untrained(parts.model, loop_settings(spec), (), nan, ())
    save_bundle(given.folder, spec, classes, transform, parts.model, min_score=None)
    history = _history(spec, compile_training_plan(spec, parts), result) | {THRESHOLDS: {}}
    write_atomic(given.folder / HISTORY, json.dumps(history, indent=2))


def _as_it_is(job: TrainJob) -> TrainingResult:
    """A model that is not trained is measured once on the validation images."""
    settings = job.settings
    values = dict(job.validate(job.model.to(pick_device(settings.device)).eval()))
    return _untrained(job.model, settings, (values,), values[settings.metric], job.freeze.phases)


def _untrained(
    model: nn.Module,
    settings: LoopSettings,
    history: tuple[dict[str, float], ...],
    value: float,
    phases: tuple[FreezePhase, ...],
) -> TrainingResult:
    """What a training without an epoch comes to."""
    device = pick_device(settings.device)
    return TrainingResult(
        history=history,
        best_epoch=0,
        best_value=value,
        proofs=(),
        precision=arithmetic_of(settings, device).precision,
        device=device.type,
        stopped_early=False,
        phases=phases,
    )


def _decide(spec: ExperimentSpec, model: nn.Module, validation: SplitImages) -> dict[str, float]:
    """Thresholds and prediction sets are of the probabilities as they leave the house."""
    task, classes = build_task(spec), validation.snapshot.classes
    with tempfile.TemporaryDirectory() as folder:
        masks = Path(folder)
        return fit_decision(spec, model, lambda: validation.predict(task, model.eval(), classes, masks))


def _history(spec: ExperimentSpec, plan: TrainingPlan, result: TrainingResult) -> dict[str, object]:
    return {
        "metric": watched_metric(spec),
        "best_epoch": result.best_epoch,
        "best_value": result.best_value if result.history else None,
        "stopped_early": result.stopped_early,
        FOLDED_TEMPERATURE: result.history[result.best_epoch].get(TEMPERATURE) if result.history else None,
        "precision": result.precision,
        "device": result.device,
        "micro_batch": result.micro_batch,
        "devices": result.devices,
        "epochs": [dict(row) for row in result.history],
        "layers": [asdict(row) for row in plan.rows],
        "phases": [
            {"first_epoch": p.first_epoch, "frozen": sorted(p.frozen), "lr_scale": p.lr_scale}
            for p in result.phases
        ],
        "freeze_proof": [asdict(proof) for proof in result.proofs],
    }
