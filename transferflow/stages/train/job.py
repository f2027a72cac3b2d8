"""From a spec and a snapshot to a train job: what is trained, on what, with which losses and rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transferflow.data.loading.loader import Loader
from transferflow.data.loading.shares import Share
from transferflow.data.transforms.training import TrainTransform, build_train_transform
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.split_images import SplitImages, split_loader
from transferflow.stages.train.layers import TrainingPlan
from transferflow.stages.train.settings import (
    cache_setting,
    checkpointing,
    optimizer_settings,
)
from transferflow.stages.train.validation import build_validation
from transferflow.stages.train.validation_inputs import build_validation_inputs
from transferflow.tasks.base import ModelParts, VisionTask
from transferflow.training.activations.job import cache_activations
from transferflow.training.activations.room import Room
from transferflow.training.job import Hook, LoopSettings, TrainJob
from transferflow.training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class TrainingImages:
    """What a model is trained on, and what its epochs are measured on.

    Attributes:
        transform: Of the training images.
        train: The training images, or one rank's share of each batch.
        validation: The validation images.
    """

    transform: TrainTransform
    train: Loader
    validation: SplitImages


def build_training_images(
    spec: ExperimentSpec, validation: SplitImages, decoded_images: Path, ranks: Ranks = ALONE
) -> TrainingImages:
    """Load the training images of the snapshot that the validation images are of.

    Args:
        spec: Says how they are varied and loaded.
        validation: The validation images.
        decoded_images: Folder of the decoded images.
        ranks: Those who share each batch.
    """
    transform = build_train_transform(spec.augmentation, validation.transform, spec.task.truth.moving)
    share = Share(ranks.rank, ranks.world)
    train = split_loader(spec, validation.snapshot, "train", transform, decoded_images, share)
    return TrainingImages(transform, train, validation)


def compile_job(
    spec: ExperimentSpec,
    task: VisionTask,
    parts: ModelParts,
    plan: TrainingPlan,
    images: TrainingImages,
    *,
    settings: LoopSettings,
    context: RunContext,
    folder: Path,
    hooks: Sequence[Hook],
    ranks: Ranks = ALONE,
) -> TrainJob:
    """Bind model, loaders, loss, rates, freeze schedule and settings (see `settle_settings`) into a job."""
    validation = images.validation
    room, setting = activation_room(spec, context), cache_setting(spec)
    shown = build_validation_inputs(validation, parts.model, plan.freeze, settings, room, setting)
    losses = task.build_losses(validation.snapshot)
    measure = task.build_measure(validation.snapshot, validation.loader.dataset.rows, settings.metric)
    job = TrainJob(
        model=parts.model,
        groups=parts.groups,
        rates=plan.rates,
        freeze=plan.freeze,
        train_loader=images.train,
        losses=losses,
        validate=build_validation(measure, losses, shown, folder / "validation", ranks),
        optimizer=optimizer_settings(spec),
        settings=settings,
        folder=folder,
        checkpointing=checkpointing(spec),
        loss_counts=losses.counts,
        start_losses=losses.at_start,
        metric_needs=spec.task.metrics.needs,
        hooks=hooks,
        ranks=ranks,
    )
    return cache_activations(job, images.train, room, setting)


def activation_room(spec: ExperimentSpec, context: RunContext) -> Room:
    """Where the activations of a spec's images are kept."""
    cache = spec.data.cache
    return Room(None, 0) if cache is None else Room(context.activations, round(cache.max_gb * 2**30))
