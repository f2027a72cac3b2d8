"""What a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from transferflow.training.state import LoopState

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a training needs to go on as if nothing had happened, but what it began with (`Start`).

    What it draws at random, its rates and its place in the data are pure functions of the place in `state`:
    there is no more to keep.

    Attributes:
        state: The plain part.
        weights: State dict of the model; when it is saved, without what it began with.
        ema: State dict of the moving average, likewise; `None` without one.
        optimizer: State dicts of optimizer and loss scaler.
    """

    state: LoopState
    weights: Tensors
    ema: Tensors | None
    optimizer: dict[str, Any]

    @property
    def kept_weights(self) -> Tensors:
        """What is validated, and kept of the best epoch: the moving average where there is one."""
        return self.weights if self.ema is None else self.ema
