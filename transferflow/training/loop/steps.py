"""A step's place in a training."""

from __future__ import annotations

from dataclasses import dataclass

from transferflow.data.loading.batch import Batch
from transferflow.data.loading.seeds import derive_seed
from transferflow.training.loop.stepper import Computed


@dataclass(frozen=True)
class Step:
    """A step under way.

    Attributes:
        epoch: From 0.
        number: Within the epoch, from 0.
        batch: What it learns from; kept until its numbers are known, to name its images.
        computed: Its gradients.
        rate: The head's.
    """

    epoch: int
    number: int
    batch: Batch
    computed: Computed
    rate: float


def step_seed(seed: int, epoch: int, step: int, rank: int = 0) -> int:
    """Seed of what a step draws at random, such as dropout: no step, epoch, seed or device has another's."""
    return derive_seed(seed, epoch, "step", step, *([rank] if rank else []))
