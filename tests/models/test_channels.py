from __future__ import annotations

import pytest
import timm
import torch
from timm.models import adapt_input_conv
from torch import nn

from transferflow.errors import PlanError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.backbones.torchvision_weights import NAMES
from transferflow.models.channels import adapt_first_conv, mean_shrinks
from transferflow.spec.statistics import adapt_statistics

COUNTS = (1, 2, 3, 4, 5, 13)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def stem(**values):
    torch.manual_seed(3)
    return nn.Conv2d(3, 8, 7, stride=2, padding=3, **values).double()


def adapt(conv, channels, how, **values):
    model = nn.Sequential(nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=conv.bias is not None).double())
    model[0].load_state_dict(conv.state_dict())
    statistics = adapt_first_conv(model, channels, how, MEAN, STD, **values)
    return model[0], statistics


def normalised(images, mean, std):
    shape = (1, -1, 1, 1)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(shape) for v in (mean, std))
    return (images - mean) / std


@pytest.mark.parametrize("channels", COUNTS)
@pytest.mark.parametrize("bias", [True, False])
def test_fold_gives_a_gray_image_the_activations_of_its_rgb_copy(channels, bias):
    conv = stem(bias=bias)
    gray = torch.rand(2, 1, 41, 41, dtype=torch.float64)
    wanted = conv(normalised(gray.repeat(1, 3, 1, 1), MEAN, STD))
    folded, (mean, std) = adapt(conv, channels, "fold")
    found = folded(normalised(gray.repeat(1, channels, 1, 1), mean, std))
    inside = (..., slice(2, -2), slice(2, -2))
    assert torch.allclose(found[inside], wanted[inside], atol=1e-12)
    assert (mean, std) == adapt_statistics(MEAN, STD, channels)


@pytest.mark.parametrize("channels", COUNTS)
def test_fold_with_another_normalisation(channels):
    conv = stem()
    other = (tuple(0.1 + 0.01 * j for j in range(channels)), tuple(0.5 + 0.02 * j for j in range(channels)))
    folded, statistics = adapt(conv, channels, "fold", normalization=other)
    assert statistics == other
    images = torch.rand(2, 1 if channels != 3 else 3, 41, 41, dtype=torch.float64)
    rgb = images.expand(-1, 3, -1, -1)
    wanted = conv(normalised(rgb, MEAN, STD))
    found = folded(normalised(images.expand(-1, channels, -1, -1), *other))
    inside = (..., slice(2, -2), slice(2, -2))
    assert torch.allclose(found[inside], wanted[inside], atol=1e-12)


@pytest.mark.parametrize("channels", COUNTS)
def test_sum_keeps_the_response_to_a_gray_image_and_mean_scales_it(channels):
    conv = stem(bias=False)
    gray = torch.randn(2, 1, 21, 21, dtype=torch.float64)
    wanted = conv(gray.repeat(1, 3, 1, 1))
    same = gray.repeat(1, channels, 1, 1)
    assert torch.allclose(adapt(conv, channels, "sum")[0](same), wanted)
    assert torch.allclose(adapt(conv, channels, "repeat")[0](same), wanted) or channels % 3
    scaled = adapt(conv, channels, "mean")[0](same)
    assert torch.allclose(scaled, wanted * channels / 3)


@pytest.mark.parametrize("channels", COUNTS)
def test_mean_is_the_classic_and_repeat_is_timms(channels):
    conv = stem(bias=False)
    mean = adapt(conv, channels, "mean")[0].weight
    repeat = adapt(conv, channels, "repeat")[0].weight
    assert torch.allclose(repeat, adapt_input_conv(channels, conv.weight))
    if channels == 3:
        assert torch.equal(mean, conv.weight)
    else:
        assert torch.allclose(mean, conv.weight.mean(1, keepdim=True).expand(-1, channels, -1, -1))


@pytest.mark.parametrize("name", [*NAMES, "timm/test_vit", "timm/test_convnext", "timm/mobileone_s0"])
@pytest.mark.parametrize(
    ("channels", "how"), [(1, "mean"), (1, "fold"), (2, "sum"), (4, "repeat"), (5, "fold"), (13, "mean")]
)
def test_every_backbone_takes_every_number_of_channels(name, channels, how, section, check_groups):
    source, _, short = name.rpartition("/")
    spec = section(source=source or "torchvision", name=short, channel_adaptation=how)
    backbone = build_backbone(spec, channels=channels, image_size=96, pretrained=False, device="meta")
    check_groups(backbone)
    assert backbone(torch.empty(2, channels, 96, 96, device="meta")).shape == (2, backbone.num_features)
    assert len(backbone.preprocessing.mean) == len(backbone.preprocessing.std) == channels


def test_a_whole_vit_sees_no_difference_after_folding():
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=0).eval().double()
    folded = timm.create_model("test_vit", num_classes=0).eval().double()
    folded.load_state_dict(model.state_dict())
    mean, std = adapt_first_conv(folded, 1, "fold", MEAN, STD)
    gray = torch.rand(2, 1, 160, 160, dtype=torch.float64)
    wanted = model(normalised(gray.repeat(1, 3, 1, 1), MEAN, STD))
    assert torch.allclose(folded(normalised(gray, mean, std)), wanted, atol=1e-10)


@pytest.mark.parametrize(
    ("source", "name", "shrinks", "shrinks_frozen"),
    [
        ("torchvision", "resnet50", False, True),
        ("torchvision", "efficientnet_b0", False, True),
        ("torchvision", "convnext_tiny", False, False),
        ("torchvision", "vit_b_16", True, True),
        ("timm", "resnet10t", False, True),
        ("timm", "mobileone_s0", False, True),
        ("timm", "vit_tiny_patch16_224", True, True),
        ("timm", "swin_tiny_patch4_window7_224", False, False),
    ],
)
def test_mean_shrinks_where_no_norm_follows(source, name, shrinks, shrinks_frozen, section):
    spec = section(source=source, name=name)
    backbone = build_backbone(spec, channels=1, image_size=None, pretrained=False, device="meta")
    assert mean_shrinks(backbone) is shrinks
    assert mean_shrinks(backbone, stem_trains=False) is shrinks_frozen


def test_a_normalization_of_another_length_is_refused(section):
    spec = section(
        source="torchvision", name="resnet18", normalization={"mean": [0.5, 0.5], "std": [0.5, 0.5]}
    )
    with pytest.raises(PlanError, match="2 values for 5 channels"):
        build_backbone(spec, channels=5, image_size=None, pretrained=False, device="meta")


def test_a_model_without_a_convolution_is_refused():
    with pytest.raises(PlanError, match="can't be adapted"):
        adapt_first_conv(nn.Sequential(nn.Linear(3, 3)), 1, "mean", MEAN, STD)
