"""A trial of both precisions of a CPU: a few images through the real model, forward and backward."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.models.cut.cut import Uncut
from transferflow.models.layers import LayerGroup
from transferflow.training.activations.decide import decide_pays
from transferflow.training.activations.frozen import FrozenPart
from transferflow.training.device import Arithmetic, image_layout
from transferflow.training.freezing import apply_freeze, as_it_was, busiest_phase
from transferflow.training.job import FreezeSchedule, Losses
from transferflow.training.loop.buffers import BufferGuard
from transferflow.training.precision import CpuPrecision, Spent

_IMAGES = 4
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
        shape: Channels, rows and columns of all images, where what is frozen is computed once; else `None`.
    """

    model: nn.Module
    groups: Sequence[LayerGroup]
    freeze: FreezeSchedule
    losses: Callable[[nn.Module, Batch], Losses]
    shape: tuple[int, int, int] | None


def try_precisions(tried: Tried, batch: Batch) -> Mapping[CpuPrecision, Spent] | None:
    """Measure what an image takes; the model is as it was afterwards.

    Args:
        tried: What is about to be trained.
        batch: Its first batch.

    Returns:
        Nothing where the model can't take a step: the training itself says so in words.
    """
    model, groups = tried.model, tried.groups
    phase = tried.freeze.phases[busiest_phase(groups, tried.freeze.phases)]
    with torch.random.fork_rng(devices=[]), as_it_was(model):
        model.to(memory_format=image_layout(_CPU)).train()
        apply_freeze(model, groups, phase, tried.freeze.batch_norm)
        guard = BufferGuard(model)
        guard.keep()
        try:
            return _measure(tried, batch[:_IMAGES])
        except (RuntimeError, ValueError):
            return None
        finally:
            model.zero_grad()
            guard.put_back()


def _measure(tried: Tried, batch: Batch) -> Mapping[CpuPrecision, Spent]:
    layout = image_layout(_CPU)
    ways = {name: _Way(tried, batch, Arithmetic(name, layout)) for name in get_args(CpuPrecision)}
    rounds = [{name: way.spend() for name, way in ways.items()} for _ in range(_ROUNDS)]
    return {name: _fastest([found[name] for found in rounds[1:]]) for name in ways}


class _Way:
    """A batch in one precision."""

    def __init__(self, tried: Tried, batch: Batch, how: Arithmetic) -> None:
        self.model, self.losses, self.how = tried.model, tried.losses, how
        self.batch = batch.to(_CPU, how.memory_format)
        self.frozen = None if tried.shape is None else FrozenPart(tried.shape, how, _CPU)

    def spend(self) -> Spent:
        """Compute what is frozen, and take a step from there."""
        prefix, batch = 0.0, self.batch
        cut = Uncut("") if self.frozen is None else self.frozen.finder.cut(self.model)
        if self.frozen is not None and not isinstance(cut, Uncut):
            started = time.perf_counter()
            activations = self.frozen.compute(self.model, cut, batch.images)
            spent = (time.perf_counter() - started) / len(batch)
            if decide_pays(cut, sum(tensor.nbytes for tensor in activations) // len(batch), "cpu"):
                prefix, batch = spent, replace(batch, activations=activations)
        started = time.perf_counter()
        self._step(batch)
        return Spent(prefix, (time.perf_counter() - started) / len(batch))

    def _step(self, batch: Batch) -> None:
        begins = nullcontext() if self.frozen is None else self.frozen.ready(self.model, batch)
        with self.how.forward_pass(_CPU), begins:
            loss = torch.stack([value.float() for value in self.losses(self.model, batch).values()]).sum()
        if loss.requires_grad:
            loss.backward()
            self.model.zero_grad()


def _fastest(found: list[Spent]) -> Spent:
    return Spent(min(each.prefix for each in found), min(each.step for each in found))
