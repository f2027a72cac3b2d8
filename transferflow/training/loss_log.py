"""Losses of an epoch: their means, and the first that is not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from transferflow.errors import TrainingError

Step = tuple[int, float]


class LossLog:
    """Collects named losses on the device and reads them a few steps at a time.

    Reading a number waits for the GPU; on a CPU it costs nothing, so there `every` is 1.
    """

    def __init__(self, epoch: int, every: int) -> None:
        self.epoch = epoch
        self.every = every
        self.images = 0
        self._sums: dict[str, float] = {}
        self._waiting: list[tuple[int, int, list[str], Tensor]] = []

    def add(self, step: int, images: int, losses: Mapping[str, Tensor]) -> list[Step]:
        """Take the losses of a step; return `(step, total loss)` of the steps that were read.

        Raises:
            TrainingError: If a loss is not finite.
        """
        values = torch.stack([loss.detach().float() for loss in losses.values()])
        self._waiting.append((step, images, list(losses), values))
        return self.read() if len(self._waiting) >= self.every else []

    def read(self) -> list[Step]:
        """Read what waits; return `(step, total loss)` of each step.

        Raises:
            TrainingError: If a loss is not finite.
        """
        found: list[Step] = []
        for step, images, names, tensor in self._waiting:
            values = tensor.tolist()
            for name, value in zip(names, values, strict=True):
                if not math.isfinite(value):
                    raise _not_finite(self.epoch, step, name, value)
                self._sums[name] = self._sums.get(name, 0.0) + value * images
            self.images += images
            found.append((step, sum(values)))
        self._waiting.clear()
        return found

    def means(self) -> dict[str, float]:
        """`train_loss` (the sum) and `train_<name>` of each named loss, averaged over images."""
        named = {name: value / max(1, self.images) for name, value in self._sums.items()}
        total = {"train_loss": sum(named.values())}
        return total | {f"train_{name}": value for name, value in named.items() if name != "loss"}


def _not_finite(epoch: int, step: int, name: str, value: float) -> TrainingError:
    return TrainingError(
        f"the loss `{name}` is not finite",
        where=f"epoch {epoch + 1}, step {step + 1}",
        found=str(value),
        allowed="a finite number",
        hint="lower optimizer.lr, raise schedule.warmup_epochs, set training.gradient_clip: 1.0, or use "
        "training.precision: fp32; at the very first step look at the images and labels (`data check`)",
    )
