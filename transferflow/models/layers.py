"""Layer groups and feature geometry: what every model declares about itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferflow.spec.sections.size import Size


@dataclass(frozen=True)
class Block:
    """Finest step of layer-wise learning-rate decay (a residual block, a transformer block).

    Attributes:
        name: Module path, such as `layer1.0`.
        parameters: Full names as in `model.named_parameters()`.
        step: How much deeper than the next block it counts: 1, or 0 where both share a rate (a final norm
            goes with the block before it in ViTs, with the head in ConvNeXt; see timm's layer decay).
    """

    name: str
    parameters: tuple[str, ...]
    step: Literal[0, 1] = 1


@dataclass(frozen=True)
class LayerGroup:
    """A named, ordered slice of a model.

    Attributes:
        name: The name people know: `conv1`, `layer1`, `blocks.0`, `head`.
        part: Which part of the model it belongs to.
        blocks: Its blocks, from input to output; together they hold each of its parameters once.
        modules: Paths of the modules that hold its parameters and buffers (to set `.eval()`, to digest).
    """

    name: str
    part: Literal["backbone", "neck", "head"]
    blocks: tuple[Block, ...]
    modules: tuple[str, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Full names of all parameters."""
        return tuple(name for block in self.blocks for name in block.parameters)

    def prefixed(self, prefix: str) -> LayerGroup:
        """Return the group as it is named inside a larger model; its own name stays."""
        blocks = tuple(
            replace(b, parameters=tuple(f"{prefix}.{p}" for p in b.parameters)) for b in self.blocks
        )
        return replace(self, blocks=blocks, modules=tuple(f"{prefix}.{m}" for m in self.modules))


def head_distances(groups: Sequence[LayerGroup]) -> tuple[tuple[int, ...], ...]:
    """Distance of every block of every group from the head (0), as layer-wise decay counts it.

    Equal to `timm.optim.param_groups_layer_decay`: the rate of a block is lr x decay^distance.
    """
    distance = 0
    found: list[tuple[int, ...]] = []
    for group in reversed(groups):
        row: list[int] = []
        for block in reversed(group.blocks):
            distance += block.step if group.part != "head" else 0
            row.append(distance)
        found.append(tuple(reversed(row)))
    return tuple(reversed(found))


@dataclass(frozen=True)
class FeatureLevel:
    """One feature map.

    Attributes:
        name: Group after which it is taken.
        channels: Its channels.
        stride: Input pixels per feature pixel.
    """

    name: str
    channels: int
    stride: int


@dataclass(frozen=True)
class Preprocessing:
    """What the weights were trained with.

    Attributes:
        mean: Per channel, on the 0..1 scale.
        std: Per channel, on the 0..1 scale.
        interpolation: Resize filter.
        image_size: Of the input, height and width in pixels.
        crop_fraction: Share of the resized short side that is cropped at evaluation (224/256 = 0.875).
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    image_size: Size = (224, 224)
    crop_fraction: float = 0.875


def is_batch_norm(module: nn.Module) -> bool:
    """Whether it keeps running statistics (batch norm of any kind, not torchvision's frozen one)."""
    return isinstance(module, _BatchNorm)


class Backbone(nn.Module):
    """A pretrained feature extractor, whatever its source.

    Attributes:
        groups: Layer groups from the stem to the last block; parameter names are those of this module.
        levels: Feature maps that `forward_levels` returns, from fine to coarse.
        num_features: Width of the pooled features.
        preprocessing: What the weights were trained with; mean and std are those of the model's channels.
        first_convs: Paths of the modules that see the image.
    """

    groups: tuple[LayerGroup, ...]
    levels: tuple[FeatureLevel, ...]
    num_features: int
    preprocessing: Preprocessing
    first_convs: tuple[str, ...] = ()

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B x C x H x W) to pooled features (B x num_features)."""
        raise NotImplementedError

    def forward_levels(self, images: Tensor) -> list[Tensor]:
        """Map images to one feature map (B x channels x H/stride x W/stride) per level."""
        raise NotImplementedError
