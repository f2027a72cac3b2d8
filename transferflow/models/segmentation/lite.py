"""A light decoder for any backbone: a top-down pyramid with a global gate."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

NORM_GROUPS = 8


class LiteDecoder(nn.Module):
    """Enlarges coarse features step by step and adds the finer ones (FPN, arXiv:1612.03144).

    The coarsest map is gated by its global average, as in LR-ASPP (arXiv:1905.02244). Group norm throughout:
    nothing depends on the batch.

    Args:
        channels: Channels of the levels, from fine to coarse.
        width: Channels of the result.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels[-1], width, 1), nn.Sigmoid())
        self.laterals = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.smooth = nn.ModuleList(_smooth(width) for _ in channels)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map levels (B x channels x H/stride x W/stride) to one map at the finest level's size."""
        coarsest = levels[-1]
        features: Tensor = self.smooth[-1](self.laterals[-1](coarsest)) * self.gate(coarsest)
        for number in range(len(levels) - 2, -1, -1):
            lateral: Tensor = self.laterals[number](levels[number])
            enlarged = F.interpolate(features, size=lateral.shape[-2:], mode="bilinear", align_corners=False)
            features = self.smooth[number](lateral + enlarged)
        return features


def _smooth(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(NORM_GROUPS, width), nn.ReLU()
    )


class LiteHead(nn.Sequential):
    """Dropout and a classifier of each pixel."""

    def __init__(self, width: int, num_classes: int, dropout: float) -> None:
        super().__init__(nn.Dropout(dropout), nn.Conv2d(width, num_classes, 1))
