"""The time that a training will take, from measured steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from transferflow.text import counted, describe_seconds
from transferflow.training.job import FreezePhase
from transferflow.training.preflight.contents import Check


@dataclass(frozen=True)
class Pace:
    """How fast a training goes.

    Attributes:
        steps: Steps of an epoch.
        step_seconds: Time of a step in each phase; a phase that was not looked at has the longest.
        load_seconds: Time that a step waits for its images; 0 where other processes load them meanwhile.
    """

    steps: int
    step_seconds: Sequence[float]
    load_seconds: float

    def epoch_seconds(self) -> list[float]:
        """Time of an epoch's steps in each phase."""
        return [self.steps * (seconds + self.load_seconds) for seconds in self.step_seconds]


def phase_epochs(phases: Sequence[FreezePhase], epochs: int) -> list[tuple[int, int]]:
    """First epoch of each phase, and the first after it."""
    return list(pairwise([*(phase.first_epoch for phase in phases), epochs]))


def training_seconds(pace: Pace, spans: Sequence[tuple[int, int]]) -> float:
    """Time of all steps, unless training stops early."""
    of_epoch = pace.epoch_seconds()
    return sum(seconds * (end - first) for seconds, (first, end) in zip(of_epoch, spans, strict=True))


def check_time(pace: Pace, spans: Sequence[tuple[int, int]], *, is_cached: bool) -> Check:
    """Time of a step, of an epoch and of all of them.

    Args:
        pace: As it was measured.
        spans: First epoch of each phase, and the first after it.
        is_cached: Whether activations are kept, which makes steps shorter than those that were measured.
    """
    per_epoch, whole = max(pace.epoch_seconds()), training_seconds(pace, spans)
    step = max(pace.step_seconds) + pace.load_seconds
    epochs = spans[-1][1]
    found = (
        f"{step:.2g} s a step: {describe_seconds(per_epoch)} an epoch of {pace.steps}, "
        f"{describe_seconds(whole)} for {counted(epochs, 'epoch')} at most, besides validation"
    )
    return Check("time", f"{found}; less where activations are cached" if is_cached else found)
