import pytest
import torch
from torch import nn
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from transferflow.models.layers import FeatureLevel
from transferflow.models.neck import PyramidNeck, decide_level_sources


def levels(*strides):
    return tuple(FeatureLevel(f"l{i}", 8, stride) for i, stride in enumerate(strides))


@pytest.mark.parametrize(
    ("have", "want", "chosen", "exact"),
    [
        ((4, 8, 16, 32), (8, 16, 32), [1, 2, 3], [True] * 3),
        ((16,), (4, 8, 16, 32), [0, 0, 0, 0], [False, False, True, False]),
        ((16, 16, 16), (8, 16), [2, 2], [False, True]),
        ((4, 8, 16), (16, 32), [2, 2], [True, False]),
        ((14,), (4, 8), [0, 0], [False, False]),
    ],
)
def test_each_stride_finds_a_level(have, want, chosen, exact):
    found = decide_level_sources(levels(*have), want)
    assert [source.level for source in found] == chosen
    assert [source.exact for source in found] == exact


class OneLevel(nn.Module):
    levels = levels(14)

    def forward_levels(self, images):
        return [torch.nn.functional.avg_pool2d(images, 14)[:, :1].repeat(1, 8, 1, 1)]


def test_a_plain_vits_map_becomes_a_pyramid():
    neck = PyramidNeck(OneLevel(), (4, 8, 16, 32), 64, LastLevelMaxPool())
    found = neck(torch.randn(2, 3, 112, 112))
    assert [tuple(level.shape[-2:]) for level in found.values()] == [
        (28, 28),
        (14, 14),
        (7, 7),
        (4, 4),
        (2, 2),
    ]
