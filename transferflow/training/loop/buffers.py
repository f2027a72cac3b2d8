"""Running statistics as they were before a step, for a step that does not come about."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BufferGuard:
    """Remembers a model's buffers before a forward pass, which changes them, and can put them back."""

    def __init__(self, model: nn.Module) -> None:
        self._holders = tuple(
            module for module in model.modules() if any(True for _ in module.buffers(False))
        )
        self._kept: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def keep(self) -> None:
        """Remember the buffers of what trains; a module in eval mode leaves its own alone."""
        self._kept = [
            (buffer, buffer.clone())
            for module in self._holders
            if module.training
            for buffer in module.buffers(recurse=False)
        ]

    @torch.no_grad()
    def put_back(self) -> None:
        """Undo what happened to them since `keep`; nothing after `forget`."""
        for buffer, former in self._kept:
            buffer.copy_(former)
        self._kept = []

    def forget(self) -> None:
        """The step has come about: what was remembered is of no use any more."""
        self._kept = []
