"""One optimizer step: gradients of a batch, then the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.logs import get_logger
from transferflow.training.device import Arithmetic
from transferflow.training.job import LossCounts, Losses, count_images
from transferflow.training.loop.buffers import BufferGuard
from transferflow.training.loop.micro_batches import (
    Counted,
    count_batch,
    decide_micro_batch,
    joins_batch_norm,
    least_micro_batch,
    loss_shares,
    split_batch,
    trains_batch_norm,
)
from transferflow.training.loop.wording import describe_micro_batch, errors_in_words
from transferflow.training.ranks import ALONE, Ranks

logger = get_logger("training")
_LEAST_SCALE = 1.0
"""Of fp16's loss: gradients that are not finite at this one are so by themselves."""


@dataclass(frozen=True)
class Gradients:
    """What is known of a batch's gradients before they are applied.

    Attributes:
        losses: Each named loss.
        norm: Of the gradient over all that trains, before it is clipped. 0 in fp16 where its loss scaler
            leaves out the step and tries a smaller scale, which is its way to work.
        images: Images of the batch, on all devices together.
    """

    losses: Mapping[str, float]
    norm: float
    images: int

    @property
    def is_finite(self) -> bool:
        """Whether weights may move along them."""
        return math.isfinite(self.norm) and all(math.isfinite(value) for value in self.losses.values())


@dataclass(frozen=True)
class Computed:
    """Gradients of a batch, which lie in the parameters; a GPU may still be computing them.

    Attributes:
        names: Of the losses.
        there: The losses, then the norm of the gradient over all that trains, as it is; on the device.
        here: The same, where it can be read once it is `ready`.
        ready: When a GPU has computed the numbers; `None`: they are there.
        images: Images of the batch, on all devices together.
    """

    names: tuple[str, ...]
    there: Tensor
    here: Tensor
    ready: torch.cuda.Event | None
    images: int


class Stepper:
    """Model, optimizer and what goes with them; takes optimizer steps, knows nothing of epochs.

    A step has three parts. `gradients` may be cut off anywhere: `discard` leaves everything as it was before
    it. `move` must not be. `settle` says that it has come about.

    A GPU need not wait for anybody to look at the numbers of a step: where it `runs_ahead`, weights move by
    themselves if all of them are finite, and else never again; the next gradients may be under way before a
    step is settled.

    Attributes:
        model: On the device, in train mode with the freeze applied.
        optimizer: Over all parameters.
        scaler: Loss scaler; does nothing unless the precision is fp16.
        ema: Moving average of the model (timm's `ModelEmaV3`), or `None`.
        micro_batch: Most images that are computed at a time; `None`: a whole batch.
        runs_ahead: Whether weights move before anybody has looked at the numbers.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        ema: Any | None,  # noqa: ANN401  timm has no types
        losses: Callable[[nn.Module, Batch], Losses],
        arithmetic: Arithmetic,
        device: torch.device,
        gradient_clip: float | None,
        loss_counts: LossCounts = count_images,
        ranks: Ranks = ALONE,
        *,
        runs_ahead: bool = False,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.ema = ema
        self.scaler = torch.amp.GradScaler(device.type, enabled=arithmetic.precision == "fp16")
        self._losses = losses
        self._arithmetic = arithmetic
        self._device = device
        self._gradient_clip = gradient_clip
        self._loss_counts = loss_counts
        self._ranks = ranks
        self.micro_batch: int | None = None
        self.runs_ahead = runs_ahead
        self._was_bad: Tensor | None = None
        self._known_states: int | None = None  # of the optimizer, before the step that is ahead
        self._parameters = tuple(model.parameters())  # to walk through a model takes longer than a small step
        self._buffers = BufferGuard(model)

    def gradients(self, batch: Batch, seed: int) -> Computed:
        """Compute the gradients of a batch; in smaller parts, from now on, where the GPU's memory is full.

        Args:
            batch: The batch, or this device's share of it.
            seed: Of what the model draws at random (dropout, sampled boxes).

        Raises:
            TrainingError: If memory runs out for the smallest part too, or batch norm has one value per
                channel.
        """
        whole = count_batch(batch, self._loss_counts, self._ranks)
        losses = self._own_gradients(batch, whole, seed)
        with errors_in_words():
            sums = torch.stack(list(losses.values()))
            self._sum_over_ranks(sums)
            norm = nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
            numbers = torch.stack([*sums.unbind(), norm.float().to(self._device)])
        return Computed(tuple(losses), numbers, *_begin_to_read(numbers), whole.images)

    def read(self, computed: Computed) -> Gradients:
        """Wait for the numbers of a step; it is the one time that it waits for a GPU."""
        with errors_in_words():
            if computed.ready is not None:
                computed.ready.synchronize()
            *values, norm = computed.here.tolist()
        losses = dict(zip(computed.names, values, strict=True))
        return Gradients(losses, self._unscaled(norm), computed.images)

    def _own_gradients(self, batch: Batch, whole: Counted, seed: int) -> dict[str, Tensor]:
        """Compute what this device has of the gradients, without a word to others: it may try again."""
        while True:
            with errors_in_words():
                try:
                    return self._add_up(batch, whole, seed)
                except torch.OutOfMemoryError as error:
                    full = error.with_traceback(None)  # which holds on to what takes the memory
                self.discard()
                self._halve(min(self.micro_batch or len(batch), len(batch)), full)

    def _sum_over_ranks(self, losses: Tensor) -> None:
        """Sum gradients and losses over the devices; what has a gradient on none of them has none."""
        trained = [parameter for parameter in self._parameters if parameter.requires_grad]
        devices = self._ranks.total([float(parameter.grad is not None) for parameter in trained])
        gradients = []
        for parameter, having in zip(trained, devices, strict=True):
            if having > 0:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        self._ranks.add_up([*gradients, losses])

    def _halve(self, images: int, full: torch.OutOfMemoryError) -> None:
        smaller = decide_micro_batch(images, least=least_micro_batch(self.model))
        if smaller is None or joins_batch_norm(self.model):
            raise full
        torch.cuda.empty_cache()
        self.micro_batch = smaller
        logger.warning("%s", describe_micro_batch(smaller, trains_batch_norm=trains_batch_norm(self.model)))

    def _add_up(self, batch: Batch, whole: Counted, seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        self._drop_gradients()
        self._buffers.keep()
        total: dict[str, Tensor] = {}
        for part in split_batch(batch, self.micro_batch):
            for name, value in self._backward(part, whole).items():
                total[name] = total[name] + value if name in total else value
        return total

    def _unscaled(self, norm: float) -> float:
        if not self.scaler.is_enabled():
            return norm
        scale = self.scaler.get_scale()
        return 0.0 if not math.isfinite(norm) and scale > _LEAST_SCALE else norm / scale

    def _backward(self, part: Batch, whole: Counted) -> dict[str, Tensor]:
        """Add the gradients of a part; return what it makes up of each loss of the whole batch."""
        losses = self._forward(part)
        names, values = tuple(losses), torch.stack([loss.float() for loss in losses.values()])
        if len(part) < whole.images or not part.counts:
            shares = loss_shares(part, whole, names, self._loss_counts)
            values = values * values.new_tensor([shares[name] for name in names])
        torch.autograd.backward(self.scaler.scale(values.sum()))
        return dict(zip(names, values.detach().unbind(), strict=True))

    def move(self, computed: Computed) -> None:
        """Move the weights along the gradients.

        Raises:
            TrainingError: If memory runs out.
        """
        with errors_in_words():
            if self.runs_ahead:
                self._move_if_finite(computed)
            else:
                self._move(computed.there[-1])

    def _move_if_finite(self, computed: Computed) -> None:
        """Let the device decide: fused optimizers look at `found_inf` themselves, as they do for fp16."""
        self._known_states = len(self.optimizer.state)
        bad = ~computed.there.isfinite().all()
        self._was_bad = bad if self._was_bad is None else self._was_bad | bad
        vars(self.optimizer)["found_inf"] = self._was_bad.float()
        self._move(computed.there[-1])

    def _move(self, norm: Tensor) -> None:
        if self._gradient_clip is not None:
            self.scaler.unscale_(self.optimizer)
            true = norm / self.scaler.get_scale() if self.scaler.is_enabled() else norm
            trained = [parameter for parameter in self._parameters if parameter.requires_grad]
            nn.utils.clip_grads_with_norm_(trained, self._gradient_clip, true)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def settle(self, number: int) -> None:
        """The first step under way has come about: the moving average follows.

        Args:
            number: Of the step over all epochs, from 1: the average's decay grows with it.
        """
        if self.ema is not None:
            self.ema.update(self.model, step=number)
        self._buffers.forget()
        self._known_states = None

    def discard(self) -> None:
        """Drop the last step under way, of which nothing must have moved the weights."""
        self._drop_gradients()
        self._buffers.put_back()

    def _drop_gradients(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    def take_back(self) -> None:
        """Drop all that is under way: a step whose numbers were bad, and what began after it."""
        self.discard()
        self.discard()
        if self._known_states is not None:
            for parameter in list(self.optimizer.state)[self._known_states :]:
                del self.optimizer.state[parameter]  # made for a step that did not move it, and never filled
            self._known_states = None

    def _forward(self, batch: Batch) -> Losses:
        with self._arithmetic.forward_pass(self._device):
            return self._losses(self.model, batch.to(self._device, self._arithmetic.memory_format))


def _begin_to_read(numbers: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """Numbers on their way to where they can be read, and when they are there."""
    if numbers.device.type != "cuda":
        return numbers, None
    here = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
    here.copy_(numbers, non_blocking=True)
    ready = torch.cuda.Event()
    ready.record()
    return here, ready
