"""The learning rate as a pure function of epoch and step, so that a resumed run can't lose its place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from transferflow.training.job import FreezeSchedule, OptimizerSettings


def schedule_scale(settings: OptimizerSettings, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Share of the full rate at a step, without the phase's scale.

    Linear warm-up reaches the full rate at its end and never is 0; then half a cosine (Loshchilov & Hutter,
    arXiv:1608.03983) that would reach `min_lr_scale` one step after the last, or the full rate throughout.

    Args:
        settings: Schedule settings.
        step: Optimizer steps before this one, over all epochs.
        steps_per_epoch: Steps in an epoch.
        epochs: Epochs of the training.
    """
    total = max(1, epochs * steps_per_epoch)
    warmup = min(total, round(settings.warmup_epochs * steps_per_epoch))
    if step < warmup:
        return (step + 1) / warmup
    if settings.schedule == "constant" or total == warmup:
        return 1.0
    part = min(1.0, (step - warmup) / (total - warmup))
    return settings.min_lr_scale + (1 - settings.min_lr_scale) * 0.5 * (1 + math.cos(math.pi * part))


def scale_at(
    settings: OptimizerSettings,
    freeze: FreezeSchedule,
    *,
    epoch: int,
    step: int,
    steps_per_epoch: int,
    epochs: int,
) -> float:
    """What every group's rate is multiplied by: schedule times the phase's `lr_scale`.

    Args:
        settings: Schedule settings.
        freeze: Freeze schedule.
        epoch: Epoch, from 0.
        step: Step in the epoch, from 0.
        steps_per_epoch: Steps in an epoch.
        epochs: Epochs of the training.
    """
    done = epoch * steps_per_epoch + min(step, max(0, steps_per_epoch - 1))
    return schedule_scale(settings, done, steps_per_epoch, epochs) * freeze.at(epoch).lr_scale


def apply_scale(param_groups: Iterable[dict[str, Any]], scale: float) -> None:
    """Set `lr` of each param group to its `base_lr` times `scale`."""
    for group in param_groups:
        group["lr"] = group["base_lr"] * scale
