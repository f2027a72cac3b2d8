"""What is folded answers as before, to rounding; what must not be folded is left alone."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torchvision
from timm.layers import StdConv2d
from torch import nn
from torch.fx.experimental.optimization import fuse
from torchvision.ops.misc import FrozenBatchNorm2d

from transferflow.models.backbones.build import build_backbone
from transferflow.models.cut.cut import Fold
from transferflow.models.cut.find import find_cut
from transferflow.models.cut.folding import apply_folds, find_folds, folded
from transferflow.models.cut.run import compute_prefix
from transferflow.models.detection.build import build_detector
from transferflow.spec.sections.backbone import PackageBackbone, TorchvisionBackbone
from transferflow.spec.sections.head import DetectionHead

SIDE = 64


def settled(model):
    """Statistics as a training leaves them: no norm is the identity."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if getattr(module, "running_mean", None) is not None:
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.5, 0.5),
            ):
                tensor.uniform_(low, high, generator=generator)
    return model.eval()


def count_norms(model):
    return sum(isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d) for module in model.modules())


def images():
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("build", "left"),
    [
        (lambda: timm.create_model("tf_efficientnet_lite0"), 0),  # pads itself, and its norms activate
        (lambda: timm.create_model("resnet18"), 0),
        (lambda: torchvision.models.resnet18(), 0),
        (lambda: torchvision.models.resnet18(norm_layer=FrozenBatchNorm2d), 0),
        (lambda: torchvision.models.mobilenet_v3_small(), 0),
        (lambda: torchvision.models.densenet121(), 62),  # norms behind a concatenation stay
        (lambda: timm.create_model("vit_tiny_patch16_224", img_size=SIDE), 0),
    ],
)
@torch.no_grad()
def test_answers_stay(build, left):
    model = settled(build())
    before, kept = model(images()), copy.deepcopy(model.state_dict())
    norms = count_norms(model)
    folds = find_folds(model, (3, SIDE, SIDE))
    assert len(folds) == norms - left
    with folded(model, folds):
        inside = model(images())
    torch.testing.assert_close(inside, before, rtol=1e-3, atol=1e-4)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert torch.equal(model(images()), before)  # nothing is left of it
    apply_folds(model, folds)
    torch.testing.assert_close(model(images()), inside, rtol=1e-5, atol=1e-5)
    assert count_norms(model) == left


@torch.no_grad()
def test_they_are_those_of_torch_fx():
    model = settled(torchvision.models.resnet18())
    theirs = fuse(copy.deepcopy(model))
    with folded(model, find_folds(model, (3, SIDE, SIDE))):
        torch.testing.assert_close(model(images()), theirs(images()), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_backbone_of_a_detector():
    lite = PackageBackbone(source="package", name="tf_efficientnet_lite0")
    given = {"num_classes": 2, "channels": 3, "image_size": SIDE, "pretrained": False, "seed": 0}
    model = settled(build_detector(DetectionHead(kind="fcos"), lite, **given).model)
    folds = find_folds(model, (3, SIDE, SIDE))
    assert len(folds) == count_norms(model) > 40
    before = model(list(images()))
    with folded(model, folds):
        for found, kept in zip(model(list(images())), before, strict=True):
            torch.testing.assert_close(found["scores"], kept["scores"], rtol=1e-3, atol=1e-4)


class Odd(nn.Module):
    """Convolutions that a fold would change the answer of, and one that it would not."""

    def __init__(self):
        super().__init__()
        for name in ("plain", "seen", "twice", "trained", "own", "hooked"):
            setattr(self, name, nn.Conv2d(3, 3, 1))
            setattr(self, f"{name}_norm", nn.BatchNorm2d(3))
        self.standard, self.standard_norm = StdConv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.given, self.given_norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.own_norm = nn.BatchNorm2d(3, track_running_stats=False)
        self.alias, self.alias_norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.another_name = self.alias_norm
        self.hooked.register_forward_hook(lambda module, inputs, output: output + 1)

    def forward(self, x):
        for name in ("plain", "trained", "own", "standard", "hooked", "alias"):
            x = getattr(self, f"{name}_norm")(getattr(self, name)(x))
        seen = self.seen(x)
        x = self.seen_norm(seen) + seen.mean()
        x = self.twice_norm(self.twice(self.twice(x)))
        between = self.given(x)
        return self.given_norm(between), between


@torch.no_grad()
def test_what_would_change_the_answer_is_not_folded():
    model = settled(Odd())
    model.trained_norm.train()
    assert find_folds(model, (3, SIDE, SIDE)) == (Fold("plain", "plain_norm"),)


def test_a_model_that_needs_values_is_left_alone():
    class Values(nn.Module):
        def forward(self, x):
            return x * float(x.sum())

    assert find_folds(Values().eval(), (3, SIDE, SIDE)) == ()


@torch.no_grad()
def test_a_cut_knows_what_lies_before_it(freeze):
    backbone = TorchvisionBackbone(source="torchvision", name="resnet18", weights="none")
    model = settled(build_backbone(backbone, channels=3, image_size=SIDE, pretrained=False))
    freeze(model, model.groups, "layer2")
    cut = find_cut(model, (3, SIDE, SIDE))
    before = [f"model.{name}" for name in ("bn1", "layer1", "layer2")]
    assert len(cut.folds) == 10
    assert all(fold.norm.startswith(tuple(before)) for fold in cut.folds)
    (whole,) = compute_prefix(cut, model, images())
    with folded(model, cut.folds):
        (short,) = compute_prefix(cut, model, images())
    assert not torch.equal(short, whole)
    torch.testing.assert_close(short, whole, rtol=1e-4, atol=1e-4)
    freeze(model, model.groups, "layer2", batch_norm="train")
    assert not getattr(find_cut(model, (3, SIDE, SIDE)), "folds", ())  # it learns from the batch
