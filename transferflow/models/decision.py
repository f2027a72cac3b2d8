"""What leads probabilities to labels where that is not the likeliest class: kept with the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NAME = "decision"
"""Name under which a classifier has it."""


class LabelDecision(nn.Module):
    """Thresholds of the classes, and how far a prediction set reaches; without parameters.

    Attributes:
        thresholds: float32, classes: a class is said from this probability on; of two exclusive classes the
            second one's counts.
        reach: float32, scalar: a class is in the prediction set from the probability 1 - reach on; below 0:
            there are no sets.
    """

    thresholds: Tensor
    reach: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("thresholds", torch.full((classes,), 0.5))
        self.register_buffer("reach", torch.full((), -1.0))


def decision_of(model: nn.Module) -> LabelDecision | None:
    """The decision that a model was given; `None`: the likeliest class, or every one from 0.5 on."""
    found = dict(model.named_children()).get(NAME)
    return found if isinstance(found, LabelDecision) else None
