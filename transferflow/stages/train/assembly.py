"""Everything that a training needs, put together: model, images and job."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from transferflow.data.records import DatasetSnapshot
from transferflow.registry.base import RegisteredVersion
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.split_images import build_split_images, eval_transform_of
from transferflow.stages.train.head_start import apply_head_start
from transferflow.stages.train.job import TrainingImages, build_training_images, compile_job
from transferflow.stages.train.layers import TrainingPlan
from transferflow.stages.train.settle import settle_settings, try_out
from transferflow.stages.train.training_plan import compile_training_plan
from transferflow.tasks.build import build_parts, build_task
from transferflow.training.hooks import build_hook
from transferflow.training.job import TrainJob
from transferflow.training.ranks import Ranks


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


@dataclass(frozen=True)
class Assembly:
    """A training that is ready to begin.

    Attributes:
        plan: What trains when.
        images: What it is trained and validated on.
        job: What the loop is given.
    """

    plan: TrainingPlan
    images: TrainingImages
    job: TrainJob


def assemble(given: FitInputs, ranks: Ranks) -> Assembly:
    """Build the model as it starts, load the images, and bind them into a job.

    Args:
        given: What to train, and on what.
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
        images = build_training_images(spec, validation, context.decoded_images, ranks)
    trial = partial(try_out, spec, task, parts, plan, images)
    settings = settle_settings(spec, images, trial, context=context, folder=given.work, ranks=ranks)
    with ranks.in_turn():
        job = compile_job(
            spec,
            task,
            parts,
            plan,
            images,
            settings=settings,
            context=context,
            folder=given.work,
            hooks=[build_hook(context.interactive)] if ranks.rank == 0 else (),
            ranks=ranks,
        )
    return Assembly(plan, images, job)
