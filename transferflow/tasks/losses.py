"""The losses of a task, as it hands them to the training loop, and where they start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.training.job import LossCounts, StartLoss, StartLosses, count_images, expect_nothing

LossesOf = Callable[[nn.Module, Batch], Mapping[str, Tensor]]
_TIMES, _MORE = 2.0, 0.5
"""How far a loss may be from what is expected: random rows and few images give up to 1.5 times of it."""


@dataclass(frozen=True)
class Losses:
    """Named losses of a batch; their sum is minimised.

    Attributes:
        of: Model and batch to losses.
        counts: What each of them is a mean over, for batches that are computed in parts.
        in_eval: Whether they can be told from what the model answers in eval mode.
        at_start: What each of them should be before any step.
    """

    of: LossesOf
    counts: LossCounts = count_images
    in_eval: bool = True
    at_start: StartLosses = expect_nothing

    def __call__(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """The losses."""
        return self.of(model, batch)


class Recalled(nn.Module):
    """Gives an answer that is there already, whatever it is asked."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self._answer = answer

    def forward(self, images: Tensor) -> object:
        """The answer."""
        return self._answer


def start_near(value: float, why: str) -> StartLoss:
    """A loss of a model that knows nothing, and can't.

    Args:
        value: What it should be.
        why: Whence that is, in half a sentence.
    """
    return StartLoss(value, why, low=value / _TIMES, high=_TIMES * value + _MORE)


def start_at_most(value: float, why: str) -> StartLoss:
    """A loss of a model that may know something already, or be right by chance.

    Args:
        value: That of a model that knows nothing.
        why: Whence that is, in half a sentence.
    """
    return StartLoss(value, why, low=0.0, high=_TIMES * value + _MORE)


@torch.no_grad()
def losses_of_answer(of: LossesOf, answer: object, batch: Batch) -> dict[str, float]:
    """The losses of an answer, by the same code that a model's are computed by: weights and all.

    Args:
        of: The losses.
        answer: As the model nests its outputs.
        batch: Whose answer it is; its images are not looked at.
    """
    return {name: float(value) for name, value in of(Recalled(answer), batch).items()}
