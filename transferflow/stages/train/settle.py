"""Settings of the loop, with what `training.precision: auto` comes to here."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.progress import logger
from transferflow.stages.train.job import TrainingImages
from transferflow.stages.train.layers import TrainingPlan
from transferflow.stages.train.precision import Trial, try_precision
from transferflow.stages.train.settings import cache_setting, loop_settings
from transferflow.tasks.base import ModelParts, VisionTask
from transferflow.training.activations.decide import decide_views
from transferflow.training.device import computes_bf16, pick_device
from transferflow.training.job import LoopSettings
from transferflow.training.precision import is_worth_a_trial
from transferflow.training.precision_trial import Tried, try_precisions
from transferflow.training.ranks import ALONE, Ranks


def settle_settings(
    spec: ExperimentSpec,
    task: VisionTask,
    parts: ModelParts,
    plan: TrainingPlan,
    images: TrainingImages,
    *,
    context: RunContext,
    ranks: Ranks = ALONE,
) -> LoopSettings:
    """Settings of the loop; what `precision: auto` comes to is tried out by rank 0, for all of them."""
    settings, counts = loop_settings(spec), images.validation.snapshot.counts
    device, choice = pick_device(settings.device), None
    is_open = settings.precision == "auto" and device.type == "cpu" and computes_bf16(device)
    if is_open and ranks.rank == 0:
        choice = try_precision(
            spec, context, counts["train"], counts["val"], lambda: _try_out(spec, task, parts, plan, images)
        )
    found = ranks.share(None if choice is None else choice.precision)
    return settings if found is None else replace(settings, precision=found)


def _try_out(
    spec: ExperimentSpec, task: VisionTask, parts: ModelParts, plan: TrainingPlan, images: TrainingImages
) -> Trial | None:
    """Measure, where the training is long enough for it."""
    train, snapshot = images.train, images.validation.snapshot
    if not is_worth_a_trial(snapshot.counts["train"], spec.training.epochs, prod(train.shape[1:])):
        return None
    logger.info("train: trying out which precision takes less time here; later trainings know")
    (batch,) = train.epoch(0, 0, 1)
    setting = cache_setting(spec)
    views = decide_views(setting, is_varied=train.dataset.is_varied, mixes=train.mixes)
    shape = None if views is None or train.keeps_shape else train.shape
    tried = Tried(parts.model, parts.groups, plan.freeze, task.build_losses(snapshot), shape)
    return try_precisions(tried, batch)
