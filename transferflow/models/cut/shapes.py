"""A model of shapes alone, which computes in no time."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

NOT_ON_SHAPES = (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError)
"""What a model raises that can't be computed on shapes alone: it asks for a value, or for a kernel."""


def copy_to_meta(model: nn.Module) -> nn.Module:
    """A copy that holds shapes alone; it is one because some models keep what they have computed (CoaT)."""
    copies: dict[int, object] = {}
    for module in model.modules():
        for tensor in [
            *module.parameters(recurse=False),
            *module.buffers(recurse=False),
            *vars(module).values(),
        ]:
            if isinstance(tensor, Tensor):
                empty = torch.empty_like(tensor, device="meta", requires_grad=False)
                copies[id(tensor)] = (
                    nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
                )
    return copy.deepcopy(model, copies)
