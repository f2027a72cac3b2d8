"""What detectors and segmenters share: layer groups of whole models, and what a builder returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from transferflow.models.backbones.grouping import compile_groups, slice_below
from transferflow.models.layers import Block, LayerGroup, Preprocessing


@dataclass(frozen=True)
class DenseModel:
    """A detector or a segmenter and what it declares.

    Attributes:
        model: The whole model.
        groups: Layer groups from the stem to the head; parameter names are those of `model`.
        preprocessing: What its weights were trained with.
    """

    model: nn.Module
    groups: tuple[LayerGroup, ...]
    preprocessing: Preprocessing


def build_group(
    model: nn.Module, name: str, part: Literal["neck", "head"], modules: Sequence[str]
) -> LayerGroup:
    """Gather modules behind the backbone into one layer group, which layer-wise decay treats as the head.

    Args:
        model: The whole model.
        name: Name of the group.
        part: Which part of the model it belongs to.
        modules: Paths of its modules, from input to output.
    """
    names = tuple(
        f"{path}.{key}" for path in modules for key, _ in model.get_submodule(path).named_parameters()
    )
    return LayerGroup(name, part, (Block(name, names, step=0),), tuple(modules))


def resnet_groups(body: nn.Module, prefix: str) -> tuple[LayerGroup, ...]:
    """Groups of a ResNet whose children are `conv1 bn1 … layer1 … layer4`; a block per residual block.

    Args:
        body: The ResNet, or the part of it that a dense model keeps.
        prefix: Path of `body` in the whole model.
    """
    slices = [slice_below(body, "conv1", "conv1", ("conv1", "bn1"))]
    for name in ("layer1", "layer2", "layer3", "layer4"):
        for child, _ in body.get_submodule(name).named_children():
            slices.append(slice_below(body, name, f"{name}.{child}", (f"{name}.{child}",)))
    return tuple(group.prefixed(prefix) for group in compile_groups(body, slices))
