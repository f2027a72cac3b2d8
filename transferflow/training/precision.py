"""Which precision a training takes the least time in, from what a trial of both has measured; loads no torch.

No rule tells: two CPUs that both compute bf16 were seen to take 0.6 and 1.8 times the time of fp32 for the
same model, and on one of them two models 0.8 and 1.8 times (`benchmarks/precision.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

CpuPrecision = Literal["fp32", "bf16"]
LEAST_PIXELS = 100_000_000
"""Pixels of a training below which it is too short for a trial: 2,000 images of 224 pixels, seen once.

So what is short follows a rule, and comes out alike in every home.
"""
_CLEARLY = 0.95
"""Share of fp32's time that bf16, which rounds, must stay below."""


@dataclass(frozen=True)
class Spent:
    """What an image takes in one precision, in seconds.

    Attributes:
        prefix: To compute what is frozen, where that is kept; 0 where nothing is.
        step: Of a training step, which begins where that ends.
    """

    prefix: float
    step: float


def is_worth_a_trial(images: int, epochs: int, pixels: int) -> bool:
    """Whether a training is long enough.

    Args:
        images: It is trained on.
        epochs: Times that each is seen.
        pixels: Of an image.
    """
    return images * epochs * pixels >= LEAST_PIXELS


@dataclass(frozen=True)
class Choice:
    """What a trial comes to.

    Attributes:
        precision: The one that takes less time.
        share: Time of bf16 over that of fp32, for the whole training.
    """

    precision: CpuPrecision
    share: float


def decide_precision(spent: Mapping[CpuPrecision, Spent], passes: int, steps: int) -> Choice:
    """The precision that takes less time for a whole training; fp32 where both take about as long.

    Args:
        spent: What an image takes in each.
        passes: Images whose frozen part is computed.
        steps: Images of all epochs.
    """
    total = {name: each.prefix * passes + each.step * steps for name, each in spent.items()}
    share = total["bf16"] / max(total["fp32"], 1e-9)
    return Choice("bf16" if share < _CLEARLY else "fp32", share)
