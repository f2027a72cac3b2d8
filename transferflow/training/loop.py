"""The training loop: epochs, validation, best weights, checkpoints and the freeze proof."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import asdict, replace

import torch

from transferflow.errors import InterruptedRunError, TrainingError
from transferflow.logs import get_logger
from transferflow.store import digest
from transferflow.training.checkpoints import Checkpoint, Checkpoints, LoopState, tensors_of
from transferflow.training.device import Arithmetic, decide_arithmetic, has_bf16, has_depthwise, pick_device
from transferflow.training.epoch import Stepper
from transferflow.training.freezing import apply_freeze
from transferflow.training.job import TrainingResult, TrainJob
from transferflow.training.optimizer import build_optimizer
from transferflow.training.proof import close_phase, count_left_out, tensor_digests
from transferflow.training.schedule import scale_at
from transferflow.training.selection import decide_best, decide_stop

logger = get_logger("training")


def train(job: TrainJob) -> TrainingResult:
    """Train, or go on with a training that was cut off.

    Each epoch is a pure function of the weights before it, the seed and its number, and a checkpoint ends
    it: on a CPU a training that was killed and resumed gives the same bits as one that was not.

    Afterwards the model holds the best weights, on the CPU and in eval mode. The random state of the
    caller is not touched.

    Raises:
        TrainingError: If a loss is not finite, a frozen tensor changed, the validation metric is missing or
            not a number, there are no batches, or memory runs out.
        PlanError: If the device or the precision is not to be had.
        InterruptedRunError: If the user stops it; the same command resumes.
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
        self.arithmetic = arithmetic_of(job, device)
        self.stepper = _build_stepper(job, device, self.arithmetic)
        self.checkpoints = Checkpoints(job.folder, _fingerprint(job))
        self.state = LoopState()
        found = self.checkpoints.load_last()
        if found is not None:
            self._restore(found)

    def complete(self) -> TrainingResult:
        """Train the epochs that are left and put the best weights into the model."""
        settings = self.job.settings
        try:
            for hook in self.job.hooks:
                hook.on_start(settings.epochs, len(self.job.train_loader), self.state.epochs)
            while self.state.epochs < settings.epochs and not self._stops():
                self._epoch(self.state.epochs)
        except KeyboardInterrupt:
            raise _interrupted(self.state.epochs, settings.epochs) from None
        finally:
            for hook in self.job.hooks:
                hook.on_end()
        return self._result()

    def _epoch(self, epoch: int) -> None:
        started = time.perf_counter()
        phase = self.job.freeze.at(epoch)
        if epoch == phase.first_epoch:
            self.state = replace(self.state, frozen_before=self._frozen(epoch))
        trained = self._train_epoch(epoch)
        trained |= self._validate(epoch)
        row = {"epoch": float(epoch), **trained, "seconds": time.perf_counter() - started}
        self.state = replace(self.state, epochs=epoch + 1, history=(*self.state.history, row))
        self._close_phase(epoch)
        self._save(is_best=self._best() == epoch)
        for hook in self.job.hooks:
            hook.on_epoch(epoch, row)

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        """Train an epoch; return its losses, the head's last rate and the speed."""
        job, steps = self.job, len(self.job.train_loader)
        started = time.perf_counter()
        torch.manual_seed(_epoch_seed(job.settings.seed, epoch))
        job.model.train()
        apply_freeze(job.model, job.groups, job.freeze.at(epoch), job.freeze.batch_norm)

        def scale(step: int) -> float:
            return scale_at(
                job.optimizer,
                job.freeze,
                epoch=epoch,
                step=step,
                steps_per_epoch=steps,
                epochs=job.settings.epochs,
            )

        def watch(step: int, loss: float, lr: float) -> None:
            for hook in job.hooks:
                hook.on_step(epoch, step, loss, lr)

        log = self.stepper.run_epoch(epoch, job.train_loader.epoch(epoch), epoch * steps, scale, watch)
        head_rate = float(self.stepper.optimizer.param_groups[-1]["lr"])
        speed = log.images / (time.perf_counter() - started)
        return log.means() | {"lr": head_rate, "images_per_second": speed}

    def _validate(self, epoch: int) -> dict[str, float]:
        """Metrics of the weights that would be kept."""
        kept = self.job.model if self.stepper.ema is None else self.stepper.ema.module
        kept.eval()
        with torch.no_grad():
            values = {name: float(value) for name, value in self.job.validate(kept).items()}
        metric = self.job.settings.metric
        if metric not in values or math.isnan(values[metric]):
            raise TrainingError(
                f"the validation metric {metric} can't be computed, so no epoch can be the best",
                where=f"epoch {epoch + 1}",
                found="not a number" if metric in values else f"only {', '.join(values) or 'nothing'}",
                hint="watch another metric with training.early_stopping.metric, or see that the validation "
                f"split has {self.job.metric_needs}",
            )
        return values

    def _frozen(self, epoch: int) -> dict[str, str]:
        job = self.job
        return tensor_digests(job.model, job.groups, job.freeze.at(epoch).frozen, job.freeze.batch_norm)

    def _close_phase(self, epoch: int) -> None:
        """Prove that the frozen part has kept every bit, where a phase ends after this epoch."""
        job, phase = self.job, self.job.freeze.at(epoch)
        ends = self._stops() or epoch + 1 == job.settings.epochs or job.freeze.at(epoch + 1) != phase
        if ends:
            left_out = count_left_out(job.model, job.groups, phase.frozen, job.freeze.batch_norm)
            proof = close_phase(phase, epoch, self.state.frozen_before, self._frozen(epoch), left_out)
            self.state = replace(self.state, proofs=(*self.state.proofs, proof), frozen_before={})

    def _best(self) -> int:
        settings = self.job.settings
        return decide_best(self.state.history, settings.metric, lower_is_better=settings.lower_is_better)

    def _stops(self) -> bool:
        settings = self.job.settings
        return decide_stop(
            self.state.history,
            settings.metric,
            lower_is_better=settings.lower_is_better,
            patience=settings.patience,
        )

    def _save(self, *, is_best: bool) -> None:
        stepper = self.stepper
        checkpoint = Checkpoint(
            state=self.state,
            weights=tensors_of(self.job.model),
            ema=None if stepper.ema is None else tensors_of(stepper.ema.module),
            optimizer={
                "optimizer": stepper.optimizer.state_dict(),
                "scaler": stepper.scaler.state_dict(),
            },
        )
        self.state = self.checkpoints.save(checkpoint, is_best=is_best)

    def _restore(self, found: Checkpoint) -> None:
        stepper = self.stepper
        self.job.model.load_state_dict(found.weights)
        if stepper.ema is not None and found.ema is not None:
            stepper.ema.module.load_state_dict(found.ema)
        stepper.optimizer.load_state_dict(found.optimizer["optimizer"])
        if found.optimizer["scaler"]:  # empty unless it was trained in fp16
            stepper.scaler.load_state_dict(found.optimizer["scaler"])
        self.state = found.state
        logger.info("resumed after %d of %d epochs", self.state.epochs, self.job.settings.epochs)

    def _result(self) -> TrainingResult:
        state, settings = self.state, self.job.settings
        model = self.job.model
        model.load_state_dict(self.checkpoints.load_best(state))
        model.to("cpu").to(memory_format=torch.contiguous_format)
        model.eval()
        is_cuda = self.device.type == "cuda"
        return TrainingResult(
            history=state.history,
            best_epoch=state.best_epoch,
            best_value=state.history[state.best_epoch][settings.metric],
            proofs=state.proofs,
            precision=self.arithmetic.precision,
            device=torch.cuda.get_device_name(self.device) if is_cuda else self.device.type,
            stopped_early=state.epochs < settings.epochs,
        )


def arithmetic_of(job: TrainJob, device: torch.device) -> Arithmetic:
    """Precision and memory layout of a job on a device."""
    return decide_arithmetic(
        job.settings.precision, device, bf16=has_bf16(device), depthwise=has_depthwise(job.model)
    )


def _build_stepper(job: TrainJob, device: torch.device, arithmetic: Arithmetic) -> Stepper:
    job.model.to(device).to(memory_format=arithmetic.memory_format)
    ema = None
    if job.settings.ema is not None:
        from timm.utils.model_ema import ModelEmaV3  # takes seconds to import

        # Short trainings would average mostly the start: the decay grows to its value over the first steps.
        ema = ModelEmaV3(job.model, decay=job.settings.ema, use_warmup=True, warmup_power=0.75)
    return Stepper(
        job.model,
        build_optimizer(job.model, job.rates, job.optimizer),
        ema,
        job.losses,
        arithmetic,
        device,
        job.settings.gradient_clip,
    )


def _fingerprint(job: TrainJob) -> str:
    """What a checkpoint must agree with: all but the device, on which a training may go on elsewhere."""
    settings = {name: value for name, value in asdict(job.settings).items() if name != "device"}
    phases = [[phase.first_epoch, sorted(phase.frozen), phase.lr_scale] for phase in job.freeze.phases]
    return digest(
        {
            "settings": settings,
            "optimizer": asdict(job.optimizer),
            "rates": [asdict(rate) for rate in job.rates],
            "freeze": [job.freeze.batch_norm, phases],
            "steps": len(job.train_loader),
            "shapes": {name: list(tensor.shape) for name, tensor in job.model.state_dict().items()},
        }
    )


def _epoch_seed(seed: int, epoch: int) -> int:
    """Seed of an epoch's dropout and the like: neighbouring epochs and seeds share nothing."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{epoch}".encode()).digest()[:8]) >> 1


def _interrupted(done: int, epochs: int) -> InterruptedRunError:
    return InterruptedRunError(
        f"training was stopped after {done} of {epochs} epochs",
        hint=f"run the same command again: it goes on with epoch {done + 1}"
        if done
        else "run the same command again: no epoch was finished, so it starts anew",
    )
