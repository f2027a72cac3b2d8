"""The loss of answers that a model gives to somebody else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.tasks.base import PredictionInputs
from transferflow.tasks.losses import Losses, Recalled

LossSums = Mapping[str, tuple[float, float]]
"""By name: each batch's loss times what it is a mean over, added up; and what it is a mean over, added up."""


class AnswerLoss:
    """Adds up the loss of a model's answers while a task asks it: no image is computed twice.

    Args:
        losses: Named losses of a batch, and what each is a mean over.
    """

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self.sums: dict[str, tuple[float, float]] = {}

    def watch(self, inputs: PredictionInputs) -> PredictionInputs:
        """The same inputs, whose answers are looked at, if losses can be told from them in eval mode."""
        if not self._losses.in_eval:
            return inputs

        def ask(model: nn.Module, batch: Batch) -> Any:  # noqa: ANN401 - as the model nests its outputs
            answer = inputs.ask(model, batch)
            self._add(batch, answer, next(model.parameters()).device)
            return answer

        return replace(inputs, ask=ask)

    def _add(self, batch: Batch, answer: object, device: torch.device) -> None:
        over = self._losses.counts(batch)
        answered = Batch(batch.images[:0], batch.targets, batch.ids).to(device)  # the images are not needed
        for name, loss in self._losses(Recalled(answer), answered).items():
            weight = over.get(name, float(len(batch)))
            total, weights = self.sums.get(name, (0.0, 0.0))
            self.sums[name] = (total + float(loss) * weight, weights + weight)


def validation_losses(parts: Iterable[LossSums]) -> dict[str, float]:
    """`val_loss` (the sum) and `val_<name>` of each loss, over all images; empty if there is none.

    Args:
        parts: What was added up over some of the images each.
    """
    sums: dict[str, tuple[float, float]] = {}
    for part in parts:
        for name, (total, weights) in part.items():
            former = sums.get(name, (0.0, 0.0))
            sums[name] = (former[0] + total, former[1] + weights)
    named = {name: total / weights for name, (total, weights) in sums.items() if weights}
    if not named:
        return {}
    return {"val_loss": sum(named.values())} | {
        f"val_{n}": value for n, value in named.items() if n != "loss"
    }
