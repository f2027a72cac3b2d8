"""The neck between a backbone and a detector: a feature pyramid over any backbone's levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, FeaturePyramidNetwork

from transferflow.models.layers import Backbone, FeatureLevel


@dataclass(frozen=True)
class LevelSource:
    """Where one level of the pyramid comes from.

    Attributes:
        level: Index into the backbone's levels.
        stride: Input pixels per pixel of the pyramid's level.
        exact: Whether the backbone's level has this stride already.
    """

    level: int
    stride: int
    exact: bool


def decide_level_sources(levels: Sequence[FeatureLevel], strides: Sequence[int]) -> tuple[LevelSource, ...]:
    """Choose a backbone level for each stride of a pyramid.

    A level of just that stride is taken, the deepest one where several have it. Otherwise the nearest coarser
    level is enlarged, as in the simple feature pyramid of plain ViTs (arXiv:2203.16527), or the coarsest one
    is pooled.

    Args:
        levels: The backbone's levels, from fine to coarse.
        strides: Wanted strides, from fine to coarse.
    """
    found = []
    for stride in strides:
        same = [i for i, level in enumerate(levels) if level.stride == stride]
        coarser = [i for i, level in enumerate(levels) if level.stride > stride]
        if same:
            index = same[-1]
        elif coarser:
            nearest = min(levels[i].stride for i in coarser)
            index = max(i for i in coarser if levels[i].stride == nearest)
        else:
            index = len(levels) - 1
        found.append(LevelSource(index, stride, exact=bool(same)))
    return tuple(found)


class PyramidNeck(nn.Module):
    """A backbone under a feature pyramid (FPN, arXiv:1612.03144), as torchvision's detectors want it.

    Args:
        body: The backbone.
        strides: Strides of the pyramid's levels, from fine to coarse.
        channels: Channels of every level.
        extra_blocks: Adds coarser levels on top.
    """

    def __init__(
        self, body: Backbone, strides: Sequence[int], channels: int, extra_blocks: ExtraFPNBlock
    ) -> None:
        super().__init__()
        self.body = body
        self.sources = decide_level_sources(body.levels, strides)
        self.fpn = FeaturePyramidNetwork(
            [body.levels[source.level].channels for source in self.sources],
            channels,
            extra_blocks=extra_blocks,
        )
        self.out_channels = channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map images (B x C x H x W) to named levels (B x channels x H/stride x W/stride)."""
        levels = self.body.forward_levels(images)
        chosen = {
            str(number): resample_level(levels[source.level], source, images.shape[-2:])
            for number, source in enumerate(self.sources)
        }
        pyramid: dict[str, Tensor] = self.fpn(chosen)
        return pyramid


def resample_level(level: Tensor, source: LevelSource, image: Sequence[int]) -> Tensor:
    """Bring a backbone's level (B x C x h x w) to the stride that is wanted of it.

    Args:
        level: The backbone's level.
        source: What is wanted.
        image: Height and width of the image.
    """
    if source.exact:
        return level
    height, width = (-(-side // source.stride) for side in image)
    if height <= level.shape[-2] and width <= level.shape[-1]:
        return F.adaptive_avg_pool2d(level, (height, width))
    return F.interpolate(level, size=(height, width), mode="bilinear", align_corners=False)
