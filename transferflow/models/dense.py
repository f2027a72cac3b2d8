"""What detectors and segmenters share: layer groups of whole models, and what a builder returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from transferflow.errors import PlanError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.backbones.grouping import compile_groups
from transferflow.models.backbones.torchvision_slices import resnet_slices
from transferflow.models.layers import Backbone, Block, LayerGroup, Preprocessing
from transferflow.spec.sections.backbone import Backbone as BackboneSection
from transferflow.spec.sections.data import KeptShape
from transferflow.spec.sections.size import Size

_ODD_SIZE = (160, 224)
"""Of an image that is no square, for a look at whether a model takes any."""


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
    """Groups of a ResNet as `resnet_slices` takes it apart.

    Args:
        body: The ResNet, or the part of it that a dense model keeps.
        prefix: Path of `body` in the whole model.
    """
    return tuple(group.prefixed(prefix) for group in compile_groups(body, resnet_slices(body)))


def build_levels(
    backbone: BackboneSection,
    channels: int,
    image_size: int | Size | KeptShape | None,
    *,
    pretrained: bool,
    device: str,
) -> Backbone:
    """Build a backbone that gives feature maps and nothing else.

    Args:
        backbone: The backbone section.
        channels: Input channels.
        image_size: Of the input in pixels; or any, where images keep their shape.
        pretrained: Whether to load weights.
        device: `meta` for shapes alone.

    Raises:
        WeightsError: If the weights are not to be had.
        PlanError: If it has no feature maps, or takes images of one size alone where they keep their shape.
    """
    size = None if isinstance(image_size, KeptShape) else image_size
    body = build_backbone(backbone, channels=channels, image_size=size, pretrained=pretrained, device=device)
    apply_levels_only(body, channels)
    if isinstance(image_size, KeptShape):
        _require_any_size(body, channels, backbone.name)
    return body


def _require_any_size(body: Backbone, channels: int, name: str) -> None:
    try:
        meta_levels(body, channels, _ODD_SIZE)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise PlanError(
            f"{name} takes images of one size alone",
            where="data.fit",
            found="images that keep their shape",
            allowed="letterbox or stretch, with data.image_size; or a convolutional network as the backbone",
        ) from error


class _Levels(nn.Module):
    def __init__(self, body: Backbone) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.body.forward_levels(images)


def apply_levels_only(body: Backbone, channels: int) -> None:
    """Take off the groups that no feature map depends on, such as the last convolution before the pooling.

    They would be listed as training and never get a gradient.

    Args:
        body: The backbone; only its `forward_levels` works afterwards.
        channels: Its input channels.

    Raises:
        PlanError: If it has no feature maps at all.
    """
    if not body.levels:
        raise PlanError(
            "this backbone gives no feature maps, only pooled features",
            where="backbone.name",
            allowed="a convolutional network, a ViT or a Swin for detection and segmentation",
        )
    used = _used_parameters(body, channels)
    kept = []
    for group in body.groups:
        if used.isdisjoint(group.parameters):
            for path in group.modules:
                parent, _, name = path.rpartition(".")
                body.get_submodule(parent).register_module(name, nn.Identity())
        else:
            kept.append(group)
    body.groups = tuple(kept)


def meta_levels(
    body: Backbone, channels: int, size: Size | None = None
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Feature maps of one image on `meta`, where only shapes are reckoned with; the body stays as it is.

    Args:
        body: The backbone.
        channels: Its input channels.
        size: Height and width of the image; left out: those of its weights.

    Returns:
        One map per level; and the parameters and buffers by name, below
        `body.`, that they were reckoned with.
    """
    probe = _Levels(body)
    tensors = {
        name: torch.empty_like(value, device="meta", requires_grad=isinstance(value, nn.Parameter))
        for name, value in [*probe.named_parameters(), *probe.named_buffers()]
    }
    images = torch.empty(1, channels, *(size or body.preprocessing.image_size), device="meta")
    trained = body.training
    body.eval()
    try:
        levels = functional_call(probe, tensors, (images,))
    finally:
        body.train(trained)
    return list(levels), tensors


def _used_parameters(body: Backbone, channels: int) -> set[str]:
    """Follow the gradients of the levels."""
    with torch.enable_grad():
        levels, tensors = meta_levels(body, channels)
        total = sum((level.sum() for level in levels), torch.zeros((), device="meta"))
        names = [name for name, value in tensors.items() if value.requires_grad]
        gradients = torch.autograd.grad(total, [tensors[name] for name in names], allow_unused=True)
    return {
        name.removeprefix("body.")
        for name, gradient in zip(names, gradients, strict=True)
        if gradient is not None
    }
