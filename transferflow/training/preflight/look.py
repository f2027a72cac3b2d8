"""The preflight itself: the first batch through loss and gradient, without a step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from transferflow.data.loading.batch import Batch
from transferflow.training.device import Arithmetic, pick_device
from transferflow.training.freezing import apply_freeze, as_it_was, busiest_phase
from transferflow.training.job import FreezePhase, StartLoss, TrainJob
from transferflow.training.loop.build import arithmetic_of, build_stepper
from transferflow.training.loop.not_finite import BadStep, describe_images, describe_left_out, not_finite
from transferflow.training.loop.stepper import Gradients, Stepper
from transferflow.training.loop.steps import step_seed
from transferflow.training.preflight.contents import Check, Preflight
from transferflow.training.preflight.gradients import check_gradients, group_norms, zeros_woken
from transferflow.training.preflight.losses import check_losses
from transferflow.training.preflight.memory import MemoryPeak, check_memory, optimizer_bytes
from transferflow.training.preflight.pace import Pace, check_time, phase_epochs, training_seconds

_TRIES = 10
"""Steps, at most, until what is dropped at random has been there once."""


def look_before(job: TrainJob, batch: Batch, load_seconds: float, *, is_cached: bool) -> Preflight:
    """Look at loss, gradient, time and memory of a batch; the job is as it was afterwards, on its device.

    The loss is that of the first step: of the same batch, with the same draws. Ranks do all of it alike.

    Args:
        job: What is about to be trained.
        batch: Its first batch of images, or this rank's share of it.
        load_seconds: Time that each step waits for its images.
        is_cached: Whether activations are kept from the first epoch on.

    Raises:
        TrainingError: If a group that trains gets no gradient or a frozen one does, or the loss or the
            gradient of the first step is not finite.
    """
    device = pick_device(job.settings.device)
    arithmetic = arithmetic_of(job.settings, device)
    expected = job.start_losses(batch)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), as_it_was(job.model):
        if all(_is_frozen(job, phase) for phase in job.freeze.phases):
            return _look_at_answers(job, batch, device, arithmetic, expected)
        peak = MemoryPeak(device)
        look = _Look(job, batch, build_stepper(job, device, arithmetic))
        phases = {number: look.phase(number) for number in decide_phases(job)}
        spans = phase_epochs(job.freeze.phases, job.settings.epochs)
        longest = max(phase.seconds for phase in phases.values())
        of_phases = [phases[n].seconds if n in phases else longest for n in range(len(spans))]
        pace = Pace(len(job.train_loader), of_phases, load_seconds)
        memory = check_memory(peak, look.optimizer_bytes, look.stepper.micro_batch)
    losses = phases[0].losses
    checks = [*check_losses(losses, expected), *(phase.check for phase in phases.values())]
    checks.append(check_time(pace, spans, is_cached=is_cached))
    figures = _named(losses) | {
        "step_seconds": max(pace.step_seconds) + load_seconds,
        "epoch_seconds": max(pace.epoch_seconds()),
        "training_seconds": training_seconds(pace, spans),
        "memory_bytes": float(peak.taken() + look.optimizer_bytes),
    }
    return Preflight((*checks, memory) if memory else tuple(checks), figures)


def decide_phases(job: TrainJob) -> tuple[int, ...]:
    """Numbers of the phases that are looked at: the first, and that in which the most trains."""
    return tuple(dict.fromkeys((0, busiest_phase(job.groups, job.freeze.phases))))


def decide_again(spent: Sequence[float]) -> bool:
    """Whether a step should be timed again: the first one loads and warms up what all of them need.

    Args:
        spent: Seconds that each took so far.
    """
    return (len(spent) < 2 and sum(spent) < 10) or (len(spent) < 3 and sum(spent) < 1)


@dataclass(frozen=True)
class _PhaseFound:
    """What was found in one phase."""

    losses: Mapping[str, float]
    check: Check
    seconds: float


class _Look:
    """One batch, looked at in several phases."""

    def __init__(self, job: TrainJob, batch: Batch, stepper: Stepper) -> None:
        self.job, self.batch, self.stepper = job, batch, stepper
        self.optimizer_bytes = 0

    def phase(self, number: int) -> _PhaseFound:
        """Loss, gradient and time in a phase."""
        job = self.job
        phase = job.freeze.phases[number]
        _, end = phase_epochs(job.freeze.phases, job.settings.epochs)[number]
        job.model.train()
        apply_freeze(job.model, job.groups, phase, job.freeze.batch_norm)
        self.optimizer_bytes = max(self.optimizer_bytes, optimizer_bytes(job.model, job.optimizer))
        started = time.perf_counter()
        with self._gradients(0) as found:
            seconds = time.perf_counter() - started
            warning = self._require_finite(found, is_first=number == 0)
            norms = group_norms(job.model, job.groups)
        seconds = self._take_more(norms, phase, seconds)
        check = check_gradients(norms, phase, job.settings.epochs, end)
        return _PhaseFound(found.losses, replace(check, warning=warning), seconds)

    def _take_more(self, norms: dict[str, float | None], phase: FreezePhase, seconds: float) -> float:
        """Time of a step, where the first one did not take long; what it did not reach may be reached now.

        What is dropped at random (whole blocks, for each image) may be dropped for all images of a batch.

        Args:
            norms: Of the gradient over each group; what is reached now is put in.
            phase: What trains.
            seconds: Time of the first step.
        """
        spent = [seconds]
        trained = [name for name in norms if name not in phase.frozen]
        with zeros_woken(self.job.model):
            for number in range(1, _TRIES + 1):
                lacks = any(not norms[name] for name in trained)
                # Ranks agree how often: each step waits for all of them.
                if not self.job.ranks.share(lacks or decide_again(spent)):
                    break
                started = time.perf_counter()
                with self._gradients(number):
                    spent.append(time.perf_counter() - started)
                    if lacks:
                        _add_reached(norms, group_norms(self.job.model, self.job.groups))
        return min(spent)

    @contextmanager
    def _gradients(self, number: int) -> Iterator[Gradients]:
        """Gradients of the batch within the block, under the seed of a step of the first epoch."""
        seed = step_seed(self.job.settings.seed, 0, number, self.job.ranks.rank)
        try:
            yield self.stepper.read(self.stepper.gradients(self.batch, seed))
        finally:
            self.stepper.discard()

    def _require_finite(self, found: Gradients, *, is_first: bool) -> str:
        if found.is_finite:
            return ""
        bad = BadStep(0, 0, found, describe_images(self.batch, self.job.ranks))
        if is_first and self.job.settings.on_nan == "stop":
            raise not_finite(bad)
        return describe_left_out(bad) if is_first else f"{bad.worst[0]} is not finite with the first weights"


def _add_reached(norms: dict[str, float | None], more: Mapping[str, float | None]) -> None:
    for name, norm in more.items():
        norms[name] = norms[name] or norm


def _is_frozen(job: TrainJob, phase: FreezePhase) -> bool:
    return all(group.name in phase.frozen for group in job.groups)


def _look_at_answers(
    job: TrainJob,
    batch: Batch,
    device: torch.device,
    arithmetic: Arithmetic,
    expected: Mapping[str, StartLoss],
) -> Preflight:
    """What can be looked at where nothing is trained: the loss of the model as it came."""
    model = job.model.to(device).eval()
    dtype = arithmetic.autocast_dtype
    with torch.no_grad(), torch.autocast(device.type, dtype or torch.float32, enabled=dtype is not None):
        losses = {name: float(loss) for name, loss in job.losses(model, batch.to(device)).items()}
    return Preflight(tuple(check_losses(losses, expected)), _named(losses))


def _named(losses: Mapping[str, float]) -> dict[str, float]:
    parts = {f"loss_{name}": value for name, value in losses.items() if name != "loss"}
    return {"loss": sum(losses.values())} | parts if losses else {}
