"""Layer groups of torchvision's models, in the blocks that timm's layer decay counts."""

from __future__ import annotations

from typing import assert_never

from torch import nn

from transferflow.models.backbones.grouping import Slice, slice_below
from transferflow.models.backbones.torchvision_geometry import Family


def slice_torchvision(model: nn.Module, family: Family) -> list[Slice]:
    """Blocks of the torchvision model that `model` holds as `model`, from stem to top."""
    match family:
        case "resnet":
            return resnet_slices(model, "model.")
        case "efficientnet":
            return _efficientnet_slices(model)
        case "convnext":
            return _convnext_slices(model)
        case "vit":
            return _vit_slices(model)
        case _:
            assert_never(family)


def resnet_slices(model: nn.Module, prefix: str = "") -> list[Slice]:
    """Blocks of a ResNet whose children are `conv1 bn1 … layer1 … layer4`.

    Args:
        model: The ResNet, the part of it that a dense model keeps, or what holds it.
        prefix: What stands before the children's names in `model`.
    """
    slices = [slice_below(model, "conv1", "conv1", (f"{prefix}conv1", f"{prefix}bn1"))]
    for name in ("layer1", "layer2", "layer3", "layer4"):
        for number, _ in model.get_submodule(prefix + name).named_children():
            slices.append(slice_below(model, name, f"{name}.{number}", (f"{prefix}{name}.{number}",)))
    return slices


def _efficientnet_slices(model: nn.Module) -> list[Slice]:
    stages = list(model.get_submodule("model.features").children())
    slices = [slice_below(model, "features.0", "features.0", ("model.features.0",))]
    for number, stage in enumerate(stages[1:-1], 1):
        depth = len(list(stage.children()))
        for block in range(depth):
            # timm counts the last convolution (conv_head) with the block before it
            path = f"features.{number}.{block}"
            last = number == len(stages) - 2 and block == depth - 1
            slices.append(slice_below(model, f"features.{number}", path, (f"model.{path}",), deeper=not last))
    top = f"features.{len(stages) - 1}"
    return [*slices, slice_below(model, top, top, (f"model.{top}",))]


def _convnext_slices(model: nn.Module) -> list[Slice]:
    slices = [slice_below(model, "features.0", "features.0", ("model.features.0",))]
    stages = list(model.get_submodule("model.features").children())
    for number, stage in enumerate(stages[1:], 1):
        name = f"features.{number}"
        if number % 2 == 0:  # timm counts a downsampling layer with the block after it
            slices.append(slice_below(model, name, name, (f"model.{name}",), deeper=False))
            continue
        for block, _ in enumerate(stage.children()):
            slices.append(slice_below(model, name, f"{name}.{block}", (f"model.{name}.{block}",)))
    # timm counts the last norm with the head
    return [*slices, slice_below(model, "norm", "classifier.0", ("model.classifier.0",), deeper=False)]


def _vit_slices(model: nn.Module) -> list[Slice]:
    stem = ("model.class_token", "model.conv_proj", "model.encoder.pos_embedding")
    slices = [slice_below(model, "conv_proj", "conv_proj", stem)]
    depth = len(list(model.get_submodule("model.encoder.layers").children()))
    for number in range(depth):
        name = f"encoder_layer_{number}"
        path = f"model.encoder.layers.{name}"
        slices.append(slice_below(model, name, name, (path,), deeper=number < depth - 1))
    return [*slices, slice_below(model, "ln", "ln", ("model.encoder.ln",))]
