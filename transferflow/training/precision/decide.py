"""Which precision a training takes the least time in, by what a trial has measured; loads no torch.

No rule tells: for one model bf16 takes half the time of fp32 on one CPU that computes both and 1.5 times on
another one, and on one CPU two models 0.8 and 1.8 times (`benchmarks/RESULTS.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CpuPrecision = Literal["fp32", "bf16"]
_LEAST_IMAGES, _LEAST_PIXELS = 1_000, 100_000_000
"""Of all epochs: a training of fewer is too short for a trial, such as one of 1,900 images of 224 pixels.

So what is short follows a rule, and comes out alike in every home.
"""
_CLEARLY = 0.95
"""Share of fp32's time that bf16, which rounds more, must stay below."""


@dataclass(frozen=True)
class Spent:
    """What an image takes in one precision, in seconds.

    Attributes:
        prefix: To compute what is frozen, where that is kept; 0 where nothing is.
        step: Of a training step, which begins where that ends.
    """

    prefix: float
    step: float


@dataclass(frozen=True)
class Trial:
    """What was measured of a model.

    Attributes:
        pixels: Of an image.
        views: Times that what is frozen is computed of each training image; 0 where it is in each epoch.
        fp32: In the one precision.
        bf16: In the other one.
    """

    pixels: int
    views: int
    fp32: Spent
    bf16: Spent


@dataclass(frozen=True)
class Choice:
    """What a trial comes to.

    Attributes:
        precision: The one that takes less time.
        share: Time of bf16 over that of fp32, for the whole training.
    """

    precision: CpuPrecision
    share: float


def is_worth_a_trial(images: int, epochs: int, pixels: int) -> bool:
    """Whether a training is long enough.

    Args:
        images: It is trained on.
        epochs: Times that each is seen.
        pixels: Of an image.
    """
    return images * epochs >= _LEAST_IMAGES and images * epochs * pixels >= _LEAST_PIXELS


def decide_precision(trial: Trial, train: int, val: int, epochs: int) -> Choice | None:
    """The precision that takes less time for a whole training; fp32 where both take about as long.

    Args:
        trial: Of its model.
        train: Images that it is trained on.
        val: Images that its epochs are measured on, of which what is frozen is computed once.
        epochs: Passes over the training images.

    Returns:
        Nothing for a training that is too short: it follows the rule, whatever others have found.
    """
    if not is_worth_a_trial(train, epochs, trial.pixels):
        return None
    passes, steps = min(trial.views, epochs) * train + val, epochs * train
    fp32, bf16 = (spent.prefix * passes + spent.step * steps for spent in (trial.fp32, trial.bf16))
    share = bf16 / max(fp32, 1e-9)
    return Choice("bf16" if share < _CLEARLY else "fp32", share)
