"""What the loop says when it can't go on."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from transferflow.errors import (
    InterruptedRunError,
    Problem,
    StopSignal,
    TerminatedRunError,
    TrainingError,
    TransferflowError,
)
from transferflow.logs import get_logger
from transferflow.training.job import FreezePhase, FreezeSchedule

logger = get_logger("training")
_ONE_VALUE = "Expected more than 1 value per channel when training"


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


def describe_precisions(precisions: Sequence[str]) -> str:
    """That a training goes on in another arithmetic than it had."""
    return (
        f"the training was computed in {precisions[-2]} so far, and goes on in {precisions[-1]}: "
        "this device is of another kind; training.precision: fp32 is the same on all"
    )


def describe_micro_batch(images: int, *, trains_batch_norm: bool) -> str:
    """That batches are computed in parts, and what that changes."""
    norm = f"; batch norm sees at most {images} images at a time" if trains_batch_norm else ""
    return (
        f"the GPU's memory is full: from now on at most {images} images of a batch are computed at a time, "
        f"and their gradients summed, so that batch size, rates and schedule mean the same{norm}"
    )


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
    hint = "it goes on from there" if saved else "nothing was trained yet, so it starts anew"
    hint = f"run the same command again: {hint}"
    return stopped_with(reason, waiting, Problem(f"training was stopped after {place}", hint=hint))


def stopped_with(reason: BaseException, waiting: Sequence[int], said: Problem) -> BaseException:
    """What a training that was cut off ends with, in given words.

    Args:
        reason: What cut it off.
        waiting: Signals that came while it was saving.
        said: How far it got, and how to go on.
    """
    if isinstance(reason, StopSignal) or signal.SIGTERM in waiting:
        return TerminatedRunError.from_problems([said])
    if isinstance(reason, KeyboardInterrupt) or waiting:
        return InterruptedRunError.from_problems([said])
    if not isinstance(reason, TransferflowError):
        logger.warning("%s; %s", said.what, said.hint)
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


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Turn what torch raises for a setting that does not fit into an error that names the setting."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "the GPU's memory is full",
            found=str(error).split(". ")[0],
            hint="a batch that does not fit is computed in smaller parts by itself, which was not enough: "
            "lower data.image_size or training.batch_size, freeze more layers, or take precision bf16",
        ) from None
    except ValueError as error:
        if not str(error).startswith(_ONE_VALUE):
            raise
        raise TrainingError(
            "batch norm can't train on one value per channel",
            where="training.batch_size",
            found=str(error).removeprefix(_ONE_VALUE).lstrip(", "),
            allowed="2 or more images in a batch, or feature maps of more than one pixel",
            hint="raise training.batch_size or data.image_size, or keep the running statistics as they are "
            "with freeze.batch_norm: all_frozen",
        ) from None
