"""What the loop says when it can't go on."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping, Sequence

from transferflow.errors import (
    InterruptedRunError,
    StopSignal,
    TerminatedRunError,
    TrainingError,
    TransferflowError,
)
from transferflow.logs import get_logger
from transferflow.training.job import FreezePhase, FreezeSchedule

logger = get_logger("training")


def describe_place(epochs: int, all_epochs: int, steps: int, all_steps: int) -> str:
    """How far a training is, in words."""
    inside = f" and {steps} of {all_steps} steps of the next" if steps else ""
    return f"{epochs} of {all_epochs} epochs{inside}"


def describe_next_phase(planned: FreezeSchedule, phases: FreezeSchedule, phase: FreezePhase) -> str:
    """That a phase begins, and whether patience let it begin before its time."""
    at = phases.phases.index(phase)
    early = planned.phases[at].first_epoch - phase.first_epoch
    why = f", {early} before its time: the one before it no longer got better" if early else ""
    return f"phase {at + 1} of {len(phases.phases)} begins with epoch {phase.first_epoch + 1}{why}"


def stopped(reason: BaseException, waiting: Sequence[int], place: str, *, saved: bool) -> BaseException:
    """What a training that was cut off ends with, once it has saved where it stands.

    Args:
        reason: What cut it off.
        waiting: Signals that came while it was saving.
        place: How far it got.
        saved: Whether there is a checkpoint.

    Returns:
        The error that says how to go on; `reason` itself where that is somebody else's to handle.
    """
    what = f"training was stopped after {place}"
    hint = "it goes on from there" if saved else "nothing was trained yet, so it starts anew"
    hint = f"run the same command again: {hint}"
    if isinstance(reason, StopSignal) or signal.SIGTERM in waiting:
        return TerminatedRunError(what, hint=hint)
    if isinstance(reason, KeyboardInterrupt) or waiting:
        return InterruptedRunError(what, hint=hint)
    if not isinstance(reason, TransferflowError):
        logger.warning("%s; %s", what, hint)
    return reason


def no_metric(metric: str, values: Mapping[str, float], epoch: int, needs: str) -> TrainingError:
    """The error for a validation without the metric that decides."""
    return TrainingError(
        f"the validation metric {metric} can't be computed, so no epoch can be the best",
        where=f"epoch {epoch + 1}",
        found="not a number" if metric in values else f"only {', '.join(values) or 'nothing'}",
        hint="watch another metric with training.early_stopping.metric, or see that the validation "
        f"split has {needs}",
    )


def not_finite(losses: Mapping[str, float], epoch: int, step: int) -> TrainingError:
    """The error for losses of which one is no finite number."""
    name, value = next((name, value) for name, value in losses.items() if not math.isfinite(value))
    return TrainingError(
        f"the loss `{name}` is not finite",
        where=f"epoch {epoch + 1}, step {step + 1}",
        found=str(value),
        allowed="a finite number",
        hint="lower optimizer.lr, raise schedule.warmup_epochs, set training.gradient_clip: 1.0, or use "
        "training.precision: fp32; at the very first step look at the images and labels (`data check`)",
    )
