"""A trial of both precisions of a CPU: a few images through the real model, forward and backward."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.logs import get_logger
from transferflow.models.cut.cut import Uncut
from transferflow.models.layers import LayerGroup
from transferflow.training.activations.decide import decide_pays
from transferflow.training.activations.frozen import FrozenPart
from transferflow.training.activations.packing import rows_of, stack
from transferflow.training.device import Arithmetic, image_layout
from transferflow.training.freezing import apply_freeze, as_it_was, busiest_phase
from transferflow.training.job import FreezeSchedule, Losses
from transferflow.training.loop.buffers import BufferGuard
from transferflow.training.precision.decide import Spent, Trial

logger = get_logger("training")
_IMAGES = 8
"""Of fewer, bf16 has too little to compute for what it costs to begin with: it converts the weights anew."""
_ROUNDS = 3
"""Of which the first one warms up; the fastest of the others counts, as other work may disturb one."""
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Tried:
    """What is tried.

    Attributes:
        model: As it is about to be trained, on the CPU.
        groups: Its layer groups.
        freeze: What trains when; the phase in which the most does is tried.
        losses: Of the model and a batch.
        shape: Channels, rows and columns of all images; `None` where each has its own.
        pixels: Of an image, for the record.
        views: Times that what is frozen is computed of each image; `None`: in each epoch.
    """

    model: nn.Module
    groups: Sequence[LayerGroup]
    freeze: FreezeSchedule
    losses: Callable[[nn.Module, Batch], Losses]
    shape: tuple[int, int, int] | None
    pixels: int
    views: int | None


def try_precisions(tried: Tried, batch: Batch) -> Trial | None:
    """Measure what an image takes; the model is as it was afterwards.

    Args:
        tried: What is about to be trained.
        batch: Its first batch.

    Returns:
        Nothing where the model can't take a step: the training itself says so in words.
    """
    model, freeze = tried.model, tried.freeze
    with torch.random.fork_rng(devices=[]), as_it_was(model):
        model.to(memory_format=image_layout(_CPU)).train()
        apply_freeze(
            model, tried.groups, freeze.phases[busiest_phase(tried.groups, freeze.phases)], freeze.batch_norm
        )
        guard = BufferGuard(model)
        guard.keep()
        try:
            return _measure(tried, batch)
        except (RuntimeError, ValueError) as error:
            logger.debug("no trial of precisions: %s", error)
            return None
        finally:
            model.zero_grad()
            guard.put_back()


def _measure(tried: Tried, batch: Batch) -> Trial:
    layout = image_layout(_CPU)
    fp32, bf16 = (_Way(tried, batch, Arithmetic(precision, layout)) for precision in ("fp32", "bf16"))
    rounds = [(fp32.spend(), bf16.spend()) for _ in range(_ROUNDS)]
    fastest = (_fastest(each) for each in zip(*rounds[1:], strict=True))
    return Trial(tried.pixels, tried.views or 0, *fastest)


class _Way:
    """A batch in one precision."""

    def __init__(self, tried: Tried, batch: Batch, how: Arithmetic) -> None:
        self.tried, self.how = tried, how
        self.batch = batch.to(_CPU, how.memory_format)
        self.frozen = None if tried.shape is None else FrozenPart(tried.shape, how, _CPU)

    def spend(self) -> Spent:
        """Compute what is frozen, and take a step from there."""
        few, begun = self.batch[:_IMAGES], time.perf_counter()
        activations = self._activations(few.images)
        prefix = (time.perf_counter() - begun) / len(few) if activations else 0.0
        # Behind the cut a step is short, and mostly the same for few images as for many.
        batch = replace(self.batch, activations=activations) if activations else few
        begun = time.perf_counter()
        self._step(batch)
        return Spent(prefix, (time.perf_counter() - begun) / len(batch))

    def _activations(self, images: Tensor) -> tuple[Tensor, ...]:
        """Of a whole batch, computed of a few images; nothing where none are kept."""
        if self.frozen is None or self.tried.views is None:
            return ()
        cut = self.frozen.finder.cut(self.tried.model)
        if isinstance(cut, Uncut):
            return ()
        found = self.frozen.compute(self.tried.model, cut, images)
        if not decide_pays(cut, sum(tensor.nbytes for tensor in found) // len(images), "cpu"):
            return ()
        rows = [rows_of(tensor) for tensor in found]
        return tuple(stack([row[n % len(row)] for n in range(len(self.batch))]) for row in rows)

    def _step(self, batch: Batch) -> None:
        model = self.tried.model
        begins = nullcontext() if self.frozen is None else self.frozen.ready(model, batch)
        with self.how.forward_pass(_CPU), begins:
            losses = self.tried.losses(model, batch).values()
        loss = torch.stack([value.float() for value in losses]).sum()
        if loss.requires_grad:
            loss.backward()
            model.zero_grad()


def _fastest(found: Sequence[Spent]) -> Spent:
    return Spent(min(each.prefix for each in found), min(each.step for each in found))
