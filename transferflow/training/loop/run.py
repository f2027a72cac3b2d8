"""The training loop: epochs, validation, best weights, checkpoints and the freeze proof."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch

from transferflow.data.loading.batch import Batch
from transferflow.data.loading.workers import describe_death, is_death
from transferflow.errors import TrainingError, TransferflowError
from transferflow.logs import get_logger
from transferflow.training.checkpoints.contents import Checkpoint
from transferflow.training.checkpoints.folder import Checkpoints
from transferflow.training.checkpoints.start import keep_start
from transferflow.training.device import pick_device
from transferflow.training.freezing import apply_freeze
from transferflow.training.job import FreezeSchedule, TrainingResult, TrainJob
from transferflow.training.loop.build import arithmetic_of, build_stepper, capture, fingerprint_of, restore
from transferflow.training.loop.not_finite import (
    BadStep,
    describe_images,
    describe_left_out,
    has_finite_weights,
    not_finite,
    too_many_left_out,
    weights_not_finite,
)
from transferflow.training.loop.phases import begin_phase, end_phase
from transferflow.training.loop.result import build_result
from transferflow.training.loop.selection import Criterion, decide_best, decide_phases, decide_stop
from transferflow.training.loop.stepper import Gradients
from transferflow.training.loop.steps import Step, step_seed
from transferflow.training.loop.stopping import StopSignals, stop_behind
from transferflow.training.loop.validation import validate
from transferflow.training.loop.wording import describe_place, describe_precisions, stopped
from transferflow.training.schedule import apply_scale, scale_at
from transferflow.training.state import LoopState

logger = get_logger("training")
MOST_IN_A_ROW = 10
"""Steps that may be left out one after the other: so many are no chance."""


def train(job: TrainJob) -> TrainingResult:
    """Train, or go on with a training that was cut off.

    Each step is a pure function of the weights before it, the seed, its epoch and its number: on a CPU a
    training that was killed at any moment and goes on from a checkpoint gives the same bits as one that was
    not.

    Afterwards the model holds the best weights, on the CPU and in eval mode. The random state of the
    caller is not touched.

    Raises:
        TrainingError: If a loss, the gradient or a weight is not finite, a frozen tensor changed, the
            validation metric is missing or not a number, there are no batches, or memory runs out.
        PlanError: If the device or the precision is not to be had.
        InterruptedRunError: If SIGTERM or ctrl-C stops it; the same command goes on from there.
    """
    if len(job.train_loader) == 0:
        raise TrainingError(
            "there is no training batch", hint="the training split is empty: look at data.split"
        )
    device = pick_device(job.settings.device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        return _Run(job, device).complete()


class _Run:
    """One training under way."""

    def __init__(self, job: TrainJob, device: torch.device) -> None:
        self.job = job
        self.device = device
        self.arithmetic = arithmetic_of(job.settings, device)
        precision = self.arithmetic.precision
        logger.debug("training on %s in %s, %d threads", device, precision, torch.get_num_threads())
        self.state = LoopState().going_on_in(precision)
        self.stepper = build_stepper(job, device, self.arithmetic)
        self.start, keep = keep_start(job.model, job.groups, job.freeze), job.checkpointing.keep
        self.checkpoints = Checkpoints(job.folder, fingerprint_of(job), keep, self.start)
        self.criterion = Criterion(job.settings.metric, job.settings.lower_is_better, job.settings.patience)
        self.signals = StopSignals()
        self.whole = True
        self.ahead: Step | None = None
        self.clock = 0.0
        self.steps = len(job.train_loader)
        with job.ranks.in_turn():
            self.checkpoints.sweep()
            found = self.checkpoints.load_last()
        if found is not None:
            self._restore(found)
        self.saved = (self.state.place, time.monotonic())

    def complete(self) -> TrainingResult:
        """Train what is left and put the best weights into the model."""
        with self.signals:
            try:
                self._train()
            except BaseException as found:
                waiting = self.signals.close()
                reason = describe_death(found) or found
                if isinstance(reason, Exception) and not isinstance(reason, TransferflowError):
                    raise  # a bug, or the machine: what is in memory is not to be trusted
                self._save_where_it_stands()
                if is_death(reason):
                    self.signals.give_a_moment()
                reason, saved = stop_behind(found) or reason, self.saved[0] != (0, 0)
                raise stopped(reason, waiting, self._place(), saved=saved) from None
            finally:
                for hook in self.job.hooks:
                    hook.on_end()
        return self._result()

    def _train(self) -> None:
        epochs = self.job.settings.epochs
        for hook in self.job.hooks:
            hook.on_start(epochs, self.steps, self.state.epochs)
        while self.state.epochs < epochs and not self._stops():
            self._epoch(self.state.epochs)

    def _epoch(self, epoch: int) -> None:
        phases = self._phases()
        if epoch == phases.at(epoch).first_epoch and self.state.running.steps == 0:
            known = self.start.digests if epoch == 0 else {}  # nothing has been trained yet
            self.state = begin_phase(self.job, self.state, phases.at(epoch), known)
        self._train_steps(epoch, phases)
        started = time.perf_counter()
        kept = self.job.model if self.stepper.ema is None else self.stepper.ema.module
        metrics = validate(self.job, kept, epoch)
        seconds = time.perf_counter() - started
        row = self.state.running.row(epoch, self._head_rate(), metrics, seconds)
        with self._undivided():
            self._finish_epoch(epoch, row)
        for hook in self.job.hooks:
            hook.on_epoch(epoch, row)

    def _train_steps(self, epoch: int, phases: FreezeSchedule) -> None:
        """Take the steps of an epoch that are left."""
        job = self.job
        job.model.train()
        apply_freeze(job.model, job.groups, phases.at(epoch), phases.batch_norm)
        self.clock = time.perf_counter()
        first = self.state.running.steps
        for step, batch in enumerate(job.train_loader.epoch(epoch, first), first):
            apply_scale(self.stepper.optimizer.param_groups, self._scale(phases, epoch, step))
            self._step(epoch, step, batch)
            self._save_when_due()
        self._settle()

    def _step(self, epoch: int, step: int, batch: Batch) -> None:
        """Take a step; the one before it is settled while a GPU computes this one."""
        ranks, seed = self.job.ranks, self.job.settings.seed
        computed = self.stepper.gradients(batch, step_seed(seed, epoch, step, ranks.rank))
        self._settle()
        taken = Step(epoch, step, batch, computed, self._head_rate())
        if self.stepper.runs_ahead:
            with self._undivided():
                self.stepper.move(computed)
                self.ahead = taken
        else:
            self._count(taken)

    def _settle(self) -> None:
        """Count the step whose weights have moved already, if there is one."""
        if self.ahead is not None:
            self._count(self.ahead)

    def _count(self, taken: Step) -> None:
        """Let a step come about, once its numbers are known, or leave it out.

        The state follows the weights, whatever cuts in.
        """
        found = self.stepper.read(taken.computed)
        if not found.is_finite:
            self._leave_out(taken, found)
            return
        with self._undivided():
            if self.ahead is None:
                self.stepper.move(taken.computed)
            self._advance(taken, found)
        self._tell(taken, found)

    def _advance(self, taken: Step, found: Gradients) -> None:
        """Bring the state to where the weights are."""
        self.ahead = None
        self.stepper.settle(taken.epoch * self.steps + taken.number + 1)
        running = self.state.running.plus(found.images, found.losses, self._seconds())
        self.state = replace(self.state, running=running, micro_batch=self.stepper.micro_batch)

    def _tell(self, taken: Step, found: Gradients) -> None:
        for hook in self.job.hooks:
            hook.on_step(taken.epoch, taken.number, sum(found.losses.values()), taken.rate)

    def _leave_out(self, taken: Step, found: Gradients) -> None:
        """Go on without a step whose loss or gradient is not finite, if the user wants that."""
        bad = BadStep(taken.epoch, taken.number, found, describe_images(taken.batch, self.job.ranks))
        if self.job.settings.on_nan == "stop":
            raise not_finite(bad)
        with self._undivided():
            self.stepper.take_back()
            running = self.state.running.skipping(self._seconds())
            self.state = replace(self.state, running=running, micro_batch=self.stepper.micro_batch)
        logger.warning("%s", describe_left_out(bad))
        if running.in_a_row >= MOST_IN_A_ROW:
            raise too_many_left_out(bad, running.in_a_row)

    def _seconds(self) -> float:
        """Time since the last step was counted."""
        before, self.clock = self.clock, time.perf_counter()
        return self.clock - before

    def _scale(self, phases: FreezeSchedule, epoch: int, step: int) -> float:
        return scale_at(
            self.job.optimizer,
            phases,
            epoch=epoch,
            step=step,
            steps_per_epoch=self.steps,
            epochs=self.job.settings.epochs,
        )

    def _head_rate(self) -> float:
        return float(self.stepper.optimizer.param_groups[-1]["lr"])

    def _finish_epoch(self, epoch: int, row: Mapping[str, float]) -> None:
        """Put an epoch into the history, close the phase that ends with it, and save."""
        following, history = self.state.running.following(), (*self.state.history, row)
        self.state = replace(self.state, epochs=epoch + 1, running=following, history=history)
        ends = self._stops() or epoch + 1 == self.job.settings.epochs
        self.state = end_phase(self.job, self.state, self._phases(), ends=ends)
        self._save(is_best=decide_best(self.state.history, self.criterion) == epoch)

    def _phases(self) -> FreezeSchedule:
        """The phases as they came so far; from the history alone, so that a resume finds the same."""
        return decide_phases(self.job.freeze, self.state.history, self.criterion)

    def _stops(self) -> bool:
        return decide_stop(self._phases(), self.state.history, self.criterion)

    def _save_when_due(self) -> None:
        every = self.job.checkpointing.every_seconds
        if every is not None and time.monotonic() - self.saved[1] >= every:
            if self.ahead is not None and not self.stepper.read(self.ahead.computed).is_finite:
                return  # each rank has a clock of its own: of a bad step all speak at the same place
            self._settle()
            with self._undivided():
                self._save(is_best=False)

    @contextmanager
    def _undivided(self) -> Iterator[None]:
        """What happens to weights and state in this block happens wholly, or they can't be gone on from."""
        with self.signals.held():
            self.whole = False
            yield
            self.whole = True

    def _save_where_it_stands(self) -> None:
        """Save what is not saved yet; a step that was cut off has not been."""
        ahead = self.ahead
        found = None if ahead is None else self.stepper.read(ahead.computed)
        moved = (ahead, found) if ahead and found and found.is_finite else None
        if moved:
            self._advance(*moved)
        self.stepper.take_back()
        if self.whole and self.state.place != self.saved[0] and has_finite_weights(self.job.model):
            self._save(is_best=False)
        if moved:
            self._tell(*moved)

    def _save(self, *, is_best: bool) -> None:
        if not has_finite_weights(self.job.model):
            raise weights_not_finite(self._place())
        if self.job.ranks.rank == 0:
            untouched = self.start.untouched_at(self.state.epochs, self._phases())
            checkpoint = capture(self.state, self.job.model, self.stepper, untouched)
            self.state = self.checkpoints.save(checkpoint, is_best=is_best)
        self.saved = (self.state.place, time.monotonic())

    def _restore(self, found: Checkpoint) -> None:
        restore(found, self.job.model, self.stepper)
        self.state = found.state.going_on_in(self.arithmetic.precision)
        logger.info("goes on after %s", self._place())
        if self.state != found.state and found.state.precisions:
            logger.warning("%s", describe_precisions(self.state.precisions))

    def _place(self) -> str:
        epochs, steps = self.state.place
        return describe_place(epochs, self.job.settings.epochs, steps, self.steps)

    def _result(self) -> TrainingResult:
        state = LoopState.from_json(self.job.ranks.share(self.state.to_json()))
        self.job.model.load_state_dict(self.checkpoints.load_best(state))
        self.job.model.to("cpu").to(memory_format=torch.contiguous_format).eval()
        return build_result(self.job, state, self._phases(), self.device)
