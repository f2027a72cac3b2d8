"""Running statistics as they were before a step, for a step that does not come about."""

from __future__ import annotations

from collections import defaultdict, deque

import torch
from torch import Tensor, nn

_Pair = tuple[list[Tensor], list[Tensor]]
"""Buffers of one type, and what they were."""


class BufferGuard:
    """Remembers a model's buffers before forward passes, which change them, and can put them back.

    Several steps may be under way: each is dropped, or put back, on its own.
    """

    def __init__(self, model: nn.Module) -> None:
        self._holders = tuple(
            module for module in model.modules() if any(True for _ in module.buffers(False))
        )
        self._kept: deque[list[_Pair]] = deque()

    @torch.no_grad()
    def keep(self) -> None:
        """Remember the buffers of what trains; a module in eval mode leaves its own alone."""
        by_type: defaultdict[torch.dtype, list[Tensor]] = defaultdict(list)
        for module in self._holders:
            if module.training:
                for buffer in module.buffers(recurse=False):
                    by_type[buffer.dtype].append(buffer)
        # Copied one by one, they would take a GPU longer than some layers.
        kept = [(buffers, [torch.empty_like(buffer) for buffer in buffers]) for buffers in by_type.values()]
        for buffers, former in kept:
            torch._foreach_copy_(former, buffers)
        self._kept.append(kept)

    @torch.no_grad()
    def put_back(self) -> None:
        """Undo what the last step under way did to them; nothing if there is none."""
        if self._kept:
            for buffers, former in self._kept.pop():
                torch._foreach_copy_(buffers, former)

    def forget(self) -> None:
        """The first step under way has come about: what was remembered for it is of no use any more."""
        self._kept.popleft()
