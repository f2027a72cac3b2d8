"""The work of the train stage: build the model, run the loop, write the bundle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transferflow.data.records import DatasetSnapshot
from transferflow.models.heads import apply_temperature
from transferflow.registry.base import RegisteredVersion
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import trains_nothing, watched_metric
from transferflow.stages.artifacts import HISTORY
from transferflow.stages.artifacts import TEMPERATURE as FOLDED_TEMPERATURE
from transferflow.stages.context import RunContext
from transferflow.stages.progress import logger
from transferflow.stages.split_images import build_split_images, eval_transform_of
from transferflow.stages.train.head_start import apply_head_start
from transferflow.stages.train.job import compile_job
from transferflow.stages.train.training_plan import TrainingPlan, compile_training_plan
from transferflow.store import write_atomic
from transferflow.tasks.base import MIN_SCORE, TEMPERATURE
from transferflow.tasks.build import build_parts, build_task
from transferflow.tasks.bundle import save_bundle
from transferflow.training.device import pick_device
from transferflow.training.hooks import build_hook
from transferflow.training.job import TrainingResult, TrainJob
from transferflow.training.loop.build import arithmetic_of
from transferflow.training.loop.run import train as run_loop
from transferflow.training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class FitInputs:
    """What it takes to train a spec's model.

    Attributes:
        spec: What to train.
        context: Surroundings of the run.
        snapshot: What to train on.
        start: The version whose head rows are carried over.
        work: Where checkpoints go; those that are there are resumed.
        folder: Where the result goes.
    """

    spec: ExperimentSpec
    context: RunContext
    snapshot: DatasetSnapshot
    start: RegisteredVersion | None
    work: Path
    folder: Path


def fit(given: FitInputs, ranks: Ranks = ALONE) -> None:
    """Train, and write bundle and history into a folder; of several processes rank 0 writes.

    Args:
        given: What to train, on what, and where the result goes.
        ranks: The processes that train the model together.
    """
    spec, context, snapshot = given.spec, given.context, given.snapshot
    with ranks.in_turn():  # rank 0 fetches weights and decodes images; the others find them
        task, parts = build_task(spec), build_parts(spec, snapshot.classes, pretrained=True)
        transform = eval_transform_of(spec, parts.preprocessing)
        validation = build_split_images(spec, snapshot, "val", transform, context.decoded_images)
    task.apply_units(parts.model, snapshot)
    if ranks.rank == 0:
        apply_head_start(spec, context, snapshot, parts, given.start, transform)
    ranks.copy_first(parts.model.state_dict().values())
    if spec.training.sync_batch_norm:
        parts = replace(parts, model=ranks.join_batch_norm(parts.model))
    plan = compile_training_plan(spec, parts)
    with ranks.in_turn():
        job = compile_job(
            spec,
            task,
            parts,
            plan,
            validation,
            context=context,
            folder=given.work,
            hooks=[build_hook(context.interactive)] if ranks.rank == 0 else (),
            ranks=ranks,
        )
    trains = [row.group for row in plan.rows if any(row.trains)]
    logger.info("train: %d images, training %s", snapshot.counts["train"], ", ".join(trains) or "nothing")
    result = _as_it_is(job) if trains_nothing(spec) else run_loop(job)
    if ranks.rank == 0:
        kept = result.history[result.best_epoch]
        if TEMPERATURE in kept:
            apply_temperature(parts.model.get_submodule("head"), kept[TEMPERATURE])
        score = kept.get(MIN_SCORE)
        save_bundle(given.folder, spec, snapshot.classes, transform, parts.model, min_score=score)
        write_atomic(given.folder / HISTORY, json.dumps(_history(spec, plan, result), indent=2))


def _as_it_is(job: TrainJob) -> TrainingResult:
    """A model that is not trained is measured once on the validation images."""
    device = pick_device(job.settings.device)
    values = dict(job.validate(job.model.to(device).eval()))
    return TrainingResult(
        history=(values,),
        best_epoch=0,
        best_value=values[job.settings.metric],
        proofs=(),
        precision=arithmetic_of(job.model, job.settings, device).precision,
        device=device.type,
        stopped_early=False,
        phases=job.freeze.phases,
    )


def _history(spec: ExperimentSpec, plan: TrainingPlan, result: TrainingResult) -> dict[str, object]:
    return {
        "metric": watched_metric(spec),
        "best_epoch": result.best_epoch,
        "best_value": result.best_value,
        "stopped_early": result.stopped_early,
        FOLDED_TEMPERATURE: result.history[result.best_epoch].get(TEMPERATURE),
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
