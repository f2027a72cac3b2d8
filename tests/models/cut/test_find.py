"""Whatever the model and the boundary: prefix and suffix make the same step as the whole."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from transferflow.models.backbones.build import build_backbone
from transferflow.models.classifier import ImageClassifier
from transferflow.models.cut.cut import Uncut
from transferflow.models.cut.find import find_cut
from transferflow.models.detection.build import build_detector
from transferflow.models.detection.inputs import to_torchvision_targets
from transferflow.models.layers import Block, LayerGroup
from transferflow.models.segmentation.build import build_segmenter
from transferflow.spec.sections.backbone import PackageBackbone, TimmBackbone, TorchvisionBackbone
from transferflow.spec.sections.head import DetectionHead, SegmentationHead

LITE = PackageBackbone(source="package", name="tf_efficientnet_lite0")
RESNET = TorchvisionBackbone(source="torchvision", name="resnet50", weights="none")


def torchvision(name):
    return TorchvisionBackbone(source="torchvision", name=name, weights="none")


def timm(name):
    return TimmBackbone(source="timm", name=name, weights="none")


def squares(model, images):
    return {"loss": model(images).pow(2).mean()}


def pixel_squares(model, images):
    return {name: value.pow(2).mean() for name, value in model(images).items()}


def detector_losses(model, images):
    target = {"boxes": torch.tensor([[5.0, 5.0, 30.0, 30.0]]), "labels": torch.tensor([0])}
    return model(images, to_torchvision_targets([target] * len(images), hasattr(model, "roi_heads")))


@pytest.mark.parametrize(
    ("backbone", "side", "boundaries"),
    [
        (LITE, 64, {"conv_stem": "bn1", "blocks.3": "blocks.3", "conv_head": ""}),
        (torchvision("resnet18"), 64, {"conv1": "maxpool", "layer3": "layer3", "layer4": ""}),
        (torchvision("vit_b_16"), 32, {"encoder_layer_6": "encoder.layers.encoder_layer_6"}),
        (torchvision("convnext_tiny"), 32, {"features.7": "avgpool"}),
        (timm("vit_tiny_patch16_224"), 32, {"patch_embed": "patch_embed", "blocks.6": "blocks.6"}),
        (timm("swin_tiny_patch4_window7_224"), 224, {"layers.1": "layers.1"}),
        (timm("densenet121"), 32, {"features.denseblock2": "features.transition2"}),
        (timm("nf_regnet_b0"), 32, {"stages.1": None}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_classifiers(assert_same, freeze, backbone, side, boundaries):
    body = build_backbone(backbone, channels=3, image_size=side, pretrained=False)
    model = ImageClassifier(body, 5, dropout=0.3)
    for last, path in boundaries.items():
        freeze(model, model.groups, last)
        cut = assert_same(model, squares, (3, side, side))
        if path is not None:  # there the next block begins with an activation, and shares it
            assert cut.boundary == (f"backbone.model.{path}" if path else "backbone",)


@pytest.mark.parametrize(("kind", "backbone"), [("faster_rcnn", LITE), ("retinanet", RESNET), ("fcos", LITE)])
def test_detectors(assert_same, freeze, kind, backbone):
    built = build_detector(
        DetectionHead(kind=kind),
        backbone,
        num_classes=2,
        channels=3,
        image_size=64,
        pretrained=False,
        seed=0,
    )
    last = [group.name for group in built.groups if group.part == "backbone"][-1]
    freeze(built.model, built.groups, last)
    cut = assert_same(built.model, detector_losses, (3, 64, 64))
    assert len(cut.shapes) == (4 if kind == "faster_rcnn" else 3)  # a level for each of the pyramid's


@pytest.mark.parametrize("kind", ["deeplabv3", "lite"])
@pytest.mark.parametrize("auxiliary", [True, False])
def test_segmenters(assert_same, freeze, kind, auxiliary):
    built = build_segmenter(
        SegmentationHead(kind=kind, auxiliary=auxiliary),
        RESNET if kind == "deeplabv3" else LITE,
        num_classes=3,
        channels=3,
        image_size=64,
        pretrained=False,
        seed=0,
    )
    last = [group.name for group in built.groups if group.part == "backbone"][-1]
    for boundary in (last, "decoder"):
        freeze(built.model, built.groups, boundary)
        cut = assert_same(built.model, pixel_squares, (3, 64, 64))
        levels = 4 if kind == "lite" and boundary == last else 1 + auxiliary
        assert len(cut.shapes) == levels


def test_the_model_stays_as_it_is(freeze):
    model = ImageClassifier(build_backbone(LITE, channels=3, image_size=32, pretrained=False), 5)
    freeze(model, model.groups, "blocks.1")
    before = copy.deepcopy(model)
    find_cut(model, (3, 32, 32))
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.state_dict().values(), model.state_dict().values(), strict=True)
    )
    assert [m.training for m in before.modules()] == [m.training for m in model.modules()]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class Plain(nn.Module):
    """A stem, something between, and a head."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.stem, self.between = nn.Conv2d(3, 4, 3), between
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1)
        self.groups = tuple(
            LayerGroup(name, part, (Block(name, tuple(f"{name}.{p}" for p in ("weight", "bias"))),), (name,))
            for name, part in (("stem", "backbone"), ("head", "head"))
        )

    def forward(self, images):
        return self.head(self.pool(self.between(self.stem(images))))


class Functional(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, self.training)


class Dependent(nn.Module):
    def forward(self, x):
        return x * (2 if x.sum() > 0 else 1)


@pytest.mark.parametrize(
    ("between", "boundary"),
    [
        (nn.ReLU(inplace=True), "pool"),
        (nn.Dropout(0.5), "stem"),
        (nn.Dropout(0.0), "pool"),
        (Functional(), "stem"),
        (nn.BatchNorm2d(4, affine=False), "stem"),  # outside of every group, so that it is in train mode
        (nn.GroupNorm(2, 4, affine=False), "pool"),
    ],
    ids=["relu", "dropout", "no-dropout", "functional", "batch-norm", "group-norm"],
)
def test_the_prefix_ends_before_what_draws_or_mixes_images(assert_same, freeze, between, boundary):
    model = Plain(between)
    freeze(model, model.groups, "stem")
    assert assert_same(model, squares, (3, 8, 8)).boundary == (boundary,)


@pytest.mark.parametrize(
    ("model", "frozen", "reason"),
    [
        (Plain(nn.Identity()), None, "comes first"),
        (Plain(Dependent()), "stem", "can't be computed on shapes alone"),
    ],
    ids=["nothing-frozen", "depends-on-values"],
)
def test_where_there_is_no_cut(freeze, model, frozen, reason):
    if frozen:
        freeze(model, model.groups, frozen)
    found = find_cut(model, (3, 8, 8))
    assert isinstance(found, Uncut)
    assert reason in found.reason


def test_batch_norm_in_train_mode_is_no_prefix(assert_same, freeze):
    model = ImageClassifier(build_backbone(LITE, channels=3, image_size=32, pretrained=False), 5)
    freeze(model, model.groups, "blocks.3", "train")
    assert assert_same(model, squares, (3, 32, 32)).boundary == ("backbone.model.conv_stem",)


def test_images_that_a_layer_in_training_sees_are_needed():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen, self.trained = nn.Conv2d(3, 4, 3).requires_grad_(False), nn.Conv2d(3, 4, 3)

        def forward(self, images):
            return self.frozen(images) + self.trained(images)

    found = find_cut(Both(), (3, 8, 8))
    assert isinstance(found, Uncut)
    assert "sees the images" in found.reason
