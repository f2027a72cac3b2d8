"""What a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transferflow.training.state import LoopState

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a training needs to go on as if nothing had happened.

    What it draws at random, its rates and its place in the data are pure functions of the place in `state`:
    there is no more to keep.

    Attributes:
        state: The plain part.
        weights: State dict of the model.
        ema: State dict of the moving average; `None` without one.
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


def tensors_of(model: nn.Module) -> Tensors:
    """State dict as tensors that stand alone: on the CPU, contiguous, none shares memory with another."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
        if isinstance(tensor, Tensor)
    }
