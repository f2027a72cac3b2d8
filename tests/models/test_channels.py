from __future__ import annotations

import copy

import pytest
import timm
import torch
from timm.layers import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from timm.models import adapt_input_conv
from torch import nn

from transferflow.errors import PlanError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.backbones.torchvision_geometry import NAMES
from transferflow.models.channels import adapt_first_conv, mean_shrinks
from transferflow.models.standardised import is_standardised, plain_conv, plain_state
from transferflow.spec.sections.normalization import adapt_statistics

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


STANDARDISED = [StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame]


def standardised(kind):
    torch.manual_seed(3)
    conv = kind(3, 8, 7, stride=2, bias=True).double()
    with torch.no_grad():
        conv.weight.uniform_(0, 1)
        conv.bias.normal_()
        if hasattr(conv, "gain"):
            conv.gain.uniform_(0.5, 2)
    return conv


@pytest.mark.parametrize("kind", STANDARDISED)
@pytest.mark.parametrize("channels", COUNTS)
def test_a_standardised_stem_becomes_a_plain_one_that_keeps_the_response(kind, channels):
    conv = standardised(kind)
    gray = torch.rand(2, 1, 40, 40, dtype=torch.float64)
    same = gray.repeat(1, channels, 1, 1)
    wanted = conv(gray.repeat(1, 3, 1, 1))
    generator = torch.get_rng_state()
    found = {}
    for how in ("sum", "mean", "fold"):
        model = nn.Sequential(copy.deepcopy(conv))
        mean, std = adapt_first_conv(model, channels, how, MEAN, STD)
        found[how] = model[0]
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.allclose(found["sum"](same), wanted)
    bias = conv.bias.view(1, -1, 1, 1)
    assert torch.allclose(found["mean"](same) - bias, (wanted - bias) * channels / 3)
    inside = (..., slice(2, -2), slice(2, -2))
    folded = found["fold"](normalised(same, mean, std))
    rgb = conv(normalised(gray.repeat(1, 3, 1, 1), MEAN, STD))
    assert torch.allclose(folded[inside], rgb[inside], atol=1e-10)


@pytest.mark.parametrize("kind", STANDARDISED)
def test_a_file_of_a_standardised_stem_for_other_channels_is_made_plain(kind):
    theirs = kind(5, 8, 7, stride=2, bias=True)
    with torch.no_grad():
        theirs.weight.uniform_(0, 1)
    model = nn.Sequential(kind(3, 8, 7, stride=2, bias=True))
    state = plain_state(model, ["0"], {f"0.{key}": value for key, value in theirs.state_dict().items()})
    adapt_first_conv(model, 5, "mean", MEAN, STD)
    model.load_state_dict(state, strict=True)
    images = torch.rand(2, 5, 32, 32)
    assert torch.allclose(model(images), theirs(images), atol=1e-5)


@pytest.mark.parametrize("kind", STANDARDISED)
def test_a_standardised_convolution_of_one_filter(kind):
    conv = kind(2, 1, 3)
    images = torch.rand(2, 2, 8, 8)
    assert torch.allclose(plain_conv(conv)(images), conv(images), atol=1e-5)


@pytest.mark.parametrize("name", ["test_nfnet", "nf_regnet_b1", "resnetv2_50x1_bit", "vit_tiny_r_s16_p8_224"])
@pytest.mark.parametrize("channels", [1, 4])
def test_backbones_with_a_standardised_stem(name, channels, section, check_groups):
    for how in ("mean", "sum", "fold", "repeat"):
        spec = section(source="timm", name=name, channel_adaptation=how)
        backbone = build_backbone(spec, channels=channels, image_size=None, pretrained=False, device="meta")
        check_groups(backbone)
        (path,) = backbone.first_convs
        assert not is_standardised(backbone.get_submodule(path))
        assert mean_shrinks(backbone) is (name != "vit_tiny_r_s16_p8_224")  # it has a group norm there
    for values in ({"channels": 3}, {"channels": channels, "random": True}):
        spec = section(source="timm", name=name, weights="none" if values.get("random") else "DEFAULT")
        backbone = build_backbone(
            spec, channels=values["channels"], image_size=None, pretrained=False, device="meta"
        )
        (path,) = backbone.first_convs
        assert is_standardised(backbone.get_submodule(path))


@pytest.mark.parametrize("file_channels", [3, 5])
@pytest.mark.parametrize("how", ["sum", "fold"])
def test_a_nfnet_checkpoint_loads_and_is_rebuilt(file_channels, how, tmp_path, section):
    torch.manual_seed(0)
    full = timm.create_model("test_nfnet", in_chans=file_channels, num_classes=0).eval()
    torch.save(full.state_dict(), tmp_path / "mine.pth")
    spec = section(
        source="checkpoint",
        library="timm",
        name="test_nfnet",
        weights=str(tmp_path / "mine.pth"),
        channel_adaptation=how,
    )
    backbone = build_backbone(spec, channels=5, image_size=None).eval()
    images = torch.rand(2, 1, 96, 96).repeat(1, 5, 1, 1)
    with torch.no_grad():
        if file_channels == 5 or how == "sum":
            wanted = full(images[:, :file_channels])
            assert torch.allclose(backbone(images), wanted, atol=1e-5)
        again = build_backbone(spec, channels=5, image_size=None, pretrained=False).eval()
        again.load_state_dict(backbone.state_dict(), strict=True)
        assert torch.equal(again(images), backbone(images))


def test_a_whole_nfnet_gives_a_gray_image_what_it_gave_its_rgb_copy():
    torch.manual_seed(0)
    model = timm.create_model("test_nfnet", num_classes=0).eval().double()
    adapted = copy.deepcopy(model)
    adapt_first_conv(adapted, 1, "sum", MEAN, STD)
    gray = torch.rand(2, 1, 96, 96, dtype=torch.float64)
    assert torch.allclose(adapted(gray), model(gray.repeat(1, 3, 1, 1)), atol=1e-10)


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
