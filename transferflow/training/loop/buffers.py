"""Running statistics as they were before a step, for a step that does not come about."""

from __future__ import annotations

from collections import defaultdict, deque

import torch
from torch import Tensor, nn

_Kept = tuple[list[Tensor], Tensor]
"""Buffers of one type, and what they were, in one row."""


class BufferGuard:
    """Remembers a model's buffers before forward passes, which change them, and can put them back.

    Several steps may be under way: each is dropped, or put back, on its own.
    """

    def __init__(self, model: nn.Module) -> None:
        """List the buffers once: to walk through a model takes longer than a small step."""
        found = ((module, tuple(module.buffers(recurse=False))) for module in model.modules())
        self._holders = tuple((module, buffers) for module, buffers in found if buffers)
        self._kept: deque[list[_Kept]] = deque()

    @torch.no_grad()
    def keep(self) -> None:
        """Remember the buffers of what trains; a module in eval mode leaves its own alone."""
        by_type: defaultdict[torch.dtype, list[Tensor]] = defaultdict(list)
        for module, buffers in self._holders:
            if module.training:
                for buffer in buffers:
                    by_type[buffer.dtype].append(buffer)
        kept: list[_Kept] = []
        self._kept.append(kept)  # first: if memory runs out, this step is the one to be put back
        # Copied one by one, they would keep a GPU waiting.
        kept.extend((same, torch.cat([b.reshape(-1) for b in same])) for same in by_type.values())

    @torch.no_grad()
    def put_back(self) -> None:
        """Undo what the last step under way did to them; nothing if there is none."""
        if self._kept:
            for buffers, former in self._kept[-1]:
                parts = former.split([buffer.numel() for buffer in buffers])
                for buffer, part in zip(buffers, parts, strict=True):
                    buffer.copy_(part.view(buffer.shape))
            self._kept.pop()  # not before: what is cut off here can be done again

    def forget(self) -> None:
        """The first step under way has come about: what was remembered for it is of no use any more."""
        self._kept.popleft()
