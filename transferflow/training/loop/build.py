"""The live parts of a training, from its job, and to and from a checkpoint."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict

import torch
from torch import nn

from transferflow.store import digest
from transferflow.training.checkpoints.contents import Checkpoint, Tensors
from transferflow.training.checkpoints.start import tensors_of
from transferflow.training.device import Arithmetic, computes_bf16_fast, decide_arithmetic
from transferflow.training.job import LoopSettings, TrainJob
from transferflow.training.loop.stepper import Stepper
from transferflow.training.optimizer import build_optimizer
from transferflow.training.state import LoopState

_MAY_CHANGE = frozenset({"device", "on_nan", "precision"})
"""The precision that a spec asks for is in its key; what `auto` comes to is the machine's affair."""


def arithmetic_of(settings: LoopSettings, device: torch.device) -> Arithmetic:
    """Precision and memory layout of a training on a device."""
    return decide_arithmetic(settings.precision, device, bf16=computes_bf16_fast(device))


def build_stepper(job: TrainJob, device: torch.device, arithmetic: Arithmetic) -> Stepper:
    """Bring the model to the device, with its optimizer and moving average."""
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
        job.loss_counts,
        job.ranks,
        runs_ahead=decide_to_run_ahead(job.settings, device, arithmetic),
    )


def decide_to_run_ahead(settings: LoopSettings, device: torch.device, arithmetic: Arithmetic) -> bool:
    """Whether weights may move before anybody has looked at a step's numbers.

    Only where somebody else computes meanwhile, and where nothing but the optimizer need know that a step
    was bad: not the scaler of fp16, not a moving average, and not the next steps.
    """
    is_watched = arithmetic.precision == "fp16" or settings.ema is not None or settings.on_nan == "skip"
    return device.type == "cuda" and not is_watched


def capture(
    state: LoopState, model: nn.Module, stepper: Stepper, untouched: Collection[str] = ()
) -> Checkpoint:
    """Everything that the training needs to go on from here.

    Args:
        state: How far it is.
        model: Its model.
        stepper: Its optimizer and moving average.
        untouched: Tensors that are as they were at the start, which are left out.
    """
    return Checkpoint(
        state=state,
        weights=tensors_of(model, untouched),
        ema=None if stepper.ema is None else _average_of(stepper.ema.module, model, untouched),
        optimizer={"optimizer": stepper.optimizer.state_dict(), "scaler": stepper.scaler.state_dict()},
    )


def _average_of(average: nn.Module, model: nn.Module, untouched: Collection[str]) -> Tensors:
    """The moving average, without what is as it was at the start: it may round what never changes."""
    mine, its = average.state_dict(), model.state_dict()
    return tensors_of(average, {name for name in untouched if torch.equal(mine[name], its[name])})


def restore(found: Checkpoint, model: nn.Module, stepper: Stepper) -> None:
    """Put a checkpoint's tensors into the live parts."""
    model.load_state_dict(found.weights)
    if stepper.ema is not None and found.ema is not None:
        stepper.ema.module.load_state_dict(found.ema)
    stepper.optimizer.load_state_dict(found.optimizer["optimizer"])
    stepper.micro_batch = found.state.micro_batch
    if found.optimizer["scaler"]:  # empty unless it was trained in fp16
        stepper.scaler.load_state_dict(found.optimizer["scaler"])


def fingerprint_of(job: TrainJob) -> str:
    """What a checkpoint must agree with: all but where it runs, and what becomes of a loss that is nan."""
    settings = {name: value for name, value in asdict(job.settings).items() if name not in _MAY_CHANGE}
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
