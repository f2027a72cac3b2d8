"""Where a model is cut now, and what its activations there depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from transferflow.models.cut.cut import Cut, Uncut
from transferflow.models.cut.find import find_cut
from transferflow.store import digest
from transferflow.training.device import Arithmetic
from transferflow.training.proof import digest_tensor

_VERSION = 3
"""Raise it when prefixes are computed in another way, so that no cache keeps the old activations."""
_State = tuple[tuple[bool, ...], tuple[bool, ...]]
"""Which parameters train, and which modules are in train mode."""


@dataclass(frozen=True)
class Point:
    """A model at one freeze boundary.

    Attributes:
        cut: Where it is cut.
        tensors: Digest of each frozen tensor that the prefix may compute with, by name.
    """

    cut: Cut
    tensors: Mapping[str, str]


class PointFinder:
    """Finds a model's cut again only when what trains has changed: what is frozen has not changed since.

    It must see every state that the model is trained in, or be told to forget.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        """Look at images of that many channels, rows and columns."""
        self._shape = shape
        self._parts: tuple[nn.Module, list[nn.Parameter], list[nn.Module]] | None = None
        self._cuts: dict[_State, Cut | Uncut] = {}
        self._state: _State | None = None
        self._found: Point | Uncut = Uncut("it was not looked at")

    def cut(self, model: nn.Module) -> Cut | Uncut:
        """Cut a model as its modes and `requires_grad` stand; its values are not looked at."""
        state = self._state_of(model)
        if state not in self._cuts:
            self._cuts[state] = Uncut("nothing is frozen") if all(state[0]) else find_cut(model, self._shape)
        return self._cuts[state]

    def find(self, model: nn.Module) -> Point | Uncut:
        """The same, with a digest of what is frozen."""
        state = self._state_of(model)
        if state != self._state:
            cut = self.cut(model)
            self._found = cut if isinstance(cut, Uncut) else Point(cut, _frozen_tensors(model, cut))
            self._state = state
        return self._found

    def forget(self) -> None:
        """Look at what is frozen anew next time."""
        self._state = None

    def _state_of(self, model: nn.Module) -> _State:
        """A walk through a model takes longer than a small step: its parts are listed once."""
        if self._parts is None or self._parts[0] is not model:
            self._parts = (model, list(model.parameters()), list(model.modules()))
        _, parameters, modules = self._parts
        return tuple(p.requires_grad for p in parameters), tuple(module.training for module in modules)


def _frozen_tensors(model: nn.Module, cut: Cut) -> dict[str, str]:
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    inside = tuple(f"{call.path}." for call in cut.calls)
    buffers: dict[str, Tensor] = {
        name: buffer for name, buffer in model.named_buffers() if name.startswith(inside)
    }
    return {name: digest_tensor(tensor) for name, tensor in {**frozen, **buffers}.items()}


def name_of(point: Point, model: nn.Module, appearance: str, arithmetic: Arithmetic, batch_size: int) -> str:
    """Name of the cache of these activations: a digest of all that they depend on, besides the image.

    Args:
        point: Where the model is cut.
        model: On its device.
        appearance: Of the images, see `ImageDataset.appearance`.
        arithmetic: Precision and layout.
        batch_size: Images that are computed together: kernels are chosen by it.
    """
    modules = {call.path: repr(model.get_submodule(call.path)) for call in point.cut.calls}
    kept = [[call.path, call.number] for call in point.cut.calls if call.is_kept]
    values: dict[str, Any] = {
        "version": _VERSION,
        "tensors": dict(point.tensors),
        "model": type(model).__qualname__,
        "modules": modules,
        "kept": kept,
        "shapes": [list(shape) for shape in point.cut.shapes],
        "appearance": appearance,
        "arithmetic": [arithmetic.precision, str(arithmetic.memory_format), batch_size],
        "folded": [[fold.conv, fold.norm] for fold in point.cut.folds],
        "machine": _machine(next(model.parameters()).device),
    }
    return digest(values)


def _machine(device: torch.device) -> list[str]:
    versions = [version(name) for name in ("torch", "torchvision", "timm")]
    if device.type == "cuda":
        return [*versions, torch.cuda.get_device_name(device)]
    return [*versions, device.type, torch.backends.cpu.get_cpu_capability()]
