"""Settings of the loop, with what `training.precision: auto` comes to on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import get_args

from transferflow.data.records import SplitName
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.progress import logger
from transferflow.stages.train.job import TrainingImages
from transferflow.stages.train.known_precisions import keep_trial, known_choice, load_trial
from transferflow.stages.train.layers import TrainingPlan
from transferflow.stages.train.settings import cache_setting, loop_settings
from transferflow.store import read_bounded, write_atomic
from transferflow.tasks.base import ModelParts, VisionTask
from transferflow.training.activations.decide import decide_views
from transferflow.training.checkpoints.folder import has_checkpoints
from transferflow.training.device import Precision, computes_bf16, pick_device
from transferflow.training.job import LoopSettings
from transferflow.training.loop.build import arithmetic_of
from transferflow.training.precision.decide import CpuPrecision, Trial, is_worth_a_trial
from transferflow.training.precision.trial import Tried, try_precisions
from transferflow.training.ranks import ALONE, Ranks

BEGUN_IN = "precision.txt"
"""Beside the checkpoints of a training: the precision that it began in, in which a resume goes on."""


def known_settings(
    spec: ExperimentSpec, context: RunContext, images: Mapping[SplitName, int]
) -> LoopSettings:
    """Settings of the loop, by what is known of the model; tries nothing.

    Args:
        spec: What is trained.
        context: Whose home remembers trials.
        images: Images per split.
    """
    settings = loop_settings(spec)
    choice = known_choice(spec, context, images["train"], images["val"]) if _may_choose(settings) else None
    return settings if choice is None else replace(settings, precision=choice.precision)


def settle_settings(
    spec: ExperimentSpec,
    images: TrainingImages,
    try_out: Callable[[], Trial | None],
    *,
    context: RunContext,
    folder: Path,
    ranks: Ranks = ALONE,
) -> LoopSettings:
    """Settings of the loop, after a trial of precisions where one pays; rank 0 decides for all.

    Args:
        spec: What is trained.
        images: What it is trained and validated on.
        try_out: Takes a trial, see `try_out`.
        context: Whose home remembers trials.
        folder: Of the training's checkpoints.
        ranks: The processes that train the model together.
    """
    settings, found = loop_settings(spec), None
    if ranks.rank == 0 and _may_choose(settings):
        found = _read_begun(folder) if has_checkpoints(folder) else None
        if found is None:
            if _is_worth_a_trial(spec, images, context) and (trial := try_out()) is not None:
                keep_trial(spec, context, trial)
            settings = known_settings(spec, context, images.validation.snapshot.counts)
            found = arithmetic_of(settings, pick_device(settings.device)).precision
            write_atomic(folder / BEGUN_IN, found)
    found = ranks.share(found)
    return settings if found is None else replace(settings, precision=found)


def _may_choose(settings: LoopSettings) -> bool:
    """Whether a trial could say something: of a CPU that computes both precisions itself."""
    device = pick_device(settings.device)
    return settings.precision == "auto" and device.type == "cpu" and computes_bf16(device)


def _read_begun(folder: Path) -> Precision | None:
    try:
        found = read_bounded(folder / BEGUN_IN, 16).decode()
    except (OSError, ValueError):
        return None
    return next((precision for precision in get_args(CpuPrecision) if precision == found), None)


def _is_worth_a_trial(spec: ExperimentSpec, images: TrainingImages, context: RunContext) -> bool:
    """Whether the training is long enough, and nobody has tried its model yet."""
    count, pixels = images.validation.snapshot.counts["train"], prod(images.train.shape[1:])
    return is_worth_a_trial(count, spec.training.epochs, pixels) and load_trial(spec, context) is None


def try_out(
    spec: ExperimentSpec, task: VisionTask, parts: ModelParts, plan: TrainingPlan, images: TrainingImages
) -> Trial | None:
    """Measure both precisions on the first batch; see `try_precisions`."""
    train = images.train
    logger.info("train: trying out which precision takes less time here; later trainings know")
    (batch,) = train.epoch(0, 0, 1)
    tried = Tried(
        parts.model,
        parts.groups,
        plan.freeze,
        task.build_losses(images.validation.snapshot),
        shape=None if train.keeps_shape else train.shape,
        pixels=prod(train.shape[1:]),
        views=decide_views(cache_setting(spec), is_varied=train.dataset.is_varied, mixes=train.mixes),
    )
    return try_precisions(tried, batch)
