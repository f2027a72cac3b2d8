"""From sections of a spec to flat settings of the loop; loads no torch, for a plan may need none."""

from __future__ import annotations

from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import watched_metric
from transferflow.spec.sections.optimizer import AdamW, Sgd
from transferflow.spec.sections.training import ActivationViews
from transferflow.training.activations.decide import Setting
from transferflow.training.job import Checkpointing, LoopSettings, OptimizerSettings


def cache_setting(spec: ExperimentSpec) -> Setting:
    """What the spec says of the activation cache, flat."""
    asked = spec.training.activation_cache
    return asked.views if isinstance(asked, ActivationViews) else asked


def loop_settings(spec: ExperimentSpec) -> LoopSettings:
    """The loop's settings, flat."""
    training, metric = spec.training, watched_metric(spec)
    return LoopSettings(
        epochs=training.epochs,
        seed=training.seed,
        precision=training.precision,
        device=training.device,
        metric=metric,
        lower_is_better=metric in spec.task.metrics.lower_is_better,
        patience=training.early_stopping.patience if training.early_stopping else None,
        ema=training.ema,
        gradient_clip=training.gradient_clip,
        on_nan=training.on_nan,
    )


def checkpointing(spec: ExperimentSpec) -> Checkpointing:
    """When checkpoints are written."""
    section = spec.training.checkpoint
    minutes = section.every_minutes
    return Checkpointing(None if minutes is None else 60 * minutes, section.keep)


def optimizer_settings(spec: ExperimentSpec) -> OptimizerSettings:
    """Optimizer and schedule, flat."""
    schedule = spec.schedule
    minimum = schedule.min_lr_scale if schedule.kind == "cosine" else 1.0
    match spec.optimizer:
        case AdamW(betas=betas):
            return OptimizerSettings(
                "adamw",
                betas=betas,
                schedule=schedule.kind,
                warmup_epochs=schedule.warmup_epochs,
                min_lr_scale=minimum,
            )
        case Sgd(momentum=momentum, nesterov=nesterov):
            return OptimizerSettings(
                "sgd",
                momentum=momentum,
                nesterov=nesterov,
                schedule=schedule.kind,
                warmup_epochs=schedule.warmup_epochs,
                min_lr_scale=minimum,
            )
