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

_VERSION = 1
"""Raise it when prefixes are computed in another way, so that no cache keeps the old activations."""


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
        self._state: tuple[object, ...] = ()
        self._found: Point | Uncut = Uncut("it was not looked at")

    def find(self, model: nn.Module) -> Point | Uncut:
        """Cut a model as its modes and `requires_grad` stand."""
        state = (
            tuple(p.requires_grad for p in model.parameters()),
            tuple(module.training for module in model.modules()),
        )
        if state != self._state:
            cut = find_cut(model, self._shape)
            self._found = cut if isinstance(cut, Uncut) else Point(cut, _frozen_tensors(model, cut))
            self._state = state
        return self._found

    def forget(self) -> None:
        """Find the cut anew next time."""
        self._state = ()


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
        "machine": _machine(next(model.parameters()).device),
    }
    return digest(values)


def _machine(device: torch.device) -> list[str]:
    versions = [version(name) for name in ("torch", "torchvision", "timm")]
    if device.type == "cuda":
        return [*versions, torch.cuda.get_device_name(device)]
    return [*versions, device.type, torch.backends.cpu.get_cpu_capability()]
