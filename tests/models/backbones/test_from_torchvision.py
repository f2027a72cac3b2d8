from __future__ import annotations

import time

import pytest
import timm
import torch
import torchvision.models as library
from timm.optim import param_groups_layer_decay

from transferflow.errors import PlanError, WeightsError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.backbones.torchvision_geometry import NAMES
from transferflow.models.layers import head_distances

GROUPS = {
    "resnet18": ["conv1", "layer1", "layer2", "layer3", "layer4"],
    "resnet50": ["conv1", "layer1", "layer2", "layer3", "layer4"],
    "efficientnet_b0": [f"features.{i}" for i in range(9)],
    "efficientnet_b4": [f"features.{i}" for i in range(9)],
    "convnext_tiny": [*(f"features.{i}" for i in range(8)), "norm"],
    "vit_b_16": ["conv_proj", *(f"encoder_layer_{i}" for i in range(12)), "ln"],
}
TWINS = {
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "efficientnet_b0": "efficientnet_b0",
    "efficientnet_b4": "efficientnet_b4",
    "convnext_tiny": "convnext_tiny",
    "vit_b_16": "vit_base_patch16_224",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_groups_and_speed_on_meta(name, channels, section, check_groups):
    start = time.perf_counter()
    backbone = build_backbone(
        section(source="torchvision", name=name),
        channels=channels,
        image_size=128,
        pretrained=False,
        device="meta",
    )
    assert time.perf_counter() - start < 3
    check_groups(backbone)
    assert [group.name for group in backbone.groups] == GROUPS[name]
    images = torch.empty(2, channels, 128, 128, device="meta")
    assert backbone(images).shape == (2, backbone.num_features)
    for level, features in zip(backbone.levels, backbone.forward_levels(images), strict=True):
        assert features.shape == (2, level.channels, 128 // level.stride, 128 // level.stride)
        assert level.name in GROUPS[name]
    assert len(backbone.preprocessing.mean) == channels


@pytest.mark.parametrize("name", NAMES)
def test_layer_decay_counts_as_timm_does_for_the_same_architecture(name, section):
    backbone = build_backbone(
        section(source="torchvision", name=name), channels=3, image_size=None, pretrained=False, device="meta"
    )
    ours = {}
    for group, row in zip(backbone.groups, head_distances(backbone.groups), strict=True):
        for block, distance in zip(group.blocks, row, strict=True):
            for parameter in block.parameters:
                size = backbone.get_parameter(parameter).numel()
                ours[distance] = ours.get(distance, 0) + size
    with torch.device("meta"):
        twin = timm.create_model(TWINS[name])
    theirs = {}
    for rates in param_groups_layer_decay(twin, layer_decay=0.5):
        distance = round(-torch.log2(torch.tensor(rates["lr_scale"])).item())
        theirs[distance] = theirs.get(distance, 0) + sum(p.numel() for p in rates["params"])
    classifier = sum(p.numel() for p in twin.get_classifier().parameters())
    theirs[0] -= classifier
    assert ours == {distance: size for distance, size in theirs.items() if size}


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "convnext_tiny"])
def test_features_equal_torchvisions(name, section, publish):
    model = getattr(library, name)().eval()
    publish(name, model.state_dict())
    backbone = build_backbone(
        section(source="torchvision", name=name), channels=3, image_size=64, offline=True
    ).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        head = model.fc if name == "resnet18" else model.classifier[-1]
        assert torch.equal(head(backbone(images)), model(images))
        assert backbone.forward_levels(images)[0].shape[2] == 16


def test_vit_position_embeddings_are_resampled(section, publish):
    model = library.vit_b_16(image_size=224)
    with torch.no_grad():
        model.encoder.pos_embedding.normal_()
    publish("vit_b_16", model.state_dict())
    spec = section(source="torchvision", name="vit_b_16")
    backbone = build_backbone(spec, channels=3, image_size=112, offline=True).eval()
    wanted = library.vision_transformer.interpolate_embeddings(112, 16, model.state_dict())
    found = backbone.get_parameter("model.encoder.pos_embedding")
    assert found.shape == (1, 50, 768)
    assert torch.equal(found, wanted["encoder.pos_embedding"])
    model.heads = torch.nn.Identity()
    images = torch.rand(1, 3, 224, 224)
    same = build_backbone(spec, channels=3, image_size=None, offline=True).eval()
    with torch.no_grad():
        assert torch.equal(same(images), model.eval()(images))
        level = same.forward_levels(images)[0]
    assert level.shape == (1, 768, 14, 14)


def test_an_image_size_that_is_no_multiple_of_the_patch(section):
    with pytest.raises(PlanError, match="such as 96 or 112"):
        build_backbone(
            section(source="torchvision", name="vit_b_16"),
            channels=3,
            image_size=100,
            pretrained=False,
            device="meta",
        )


def test_its_vit_takes_squares_only(section):
    spec = section(source="torchvision", name="vit_b_16")
    with pytest.raises(PlanError, match="squares only") as caught:
        build_backbone(spec, channels=3, image_size=(64, 96), pretrained=False, device="meta")
    assert "64 x 96" in str(caught.value)
    with pytest.raises(PlanError, match="patches of 16"):
        build_backbone(spec, channels=3, image_size=(64, 100), pretrained=False, device="meta")


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "convnext_tiny"])
def test_the_others_take_rectangles(section, name):
    spec = section(source="torchvision", name=name)
    backbone = build_backbone(spec, channels=3, image_size=(64, 160), pretrained=False)
    maps = backbone.eval().forward_levels(torch.rand(1, 3, 64, 160))
    assert [tuple(found.shape[-2:]) for found in maps] == [(16, 40), (8, 20), (4, 10), (2, 5)]


def test_unknown_weights_name_lists_what_exists(section):
    with pytest.raises(WeightsError, match="IMAGENET1K_V2"):
        build_backbone(
            section(source="torchvision", name="resnet50", weights="IMAGENET1K_V9"),
            channels=3,
            image_size=None,
            pretrained=False,
            device="meta",
        )


def test_missing_weights_are_an_error_that_says_how_to_get_them(section):
    with pytest.raises(WeightsError, match=r"weights fetch SPEC`.*resnet18-f37072fd\.pth"):
        build_backbone(
            section(source="torchvision", name="resnet18"), channels=3, image_size=None, offline=True
        )


def test_a_file_with_other_content_is_refused(section, publish):
    path = publish("resnet18", {})
    torch.save(library.resnet18().state_dict(), path)
    with pytest.raises(WeightsError, match="not the one that was asked for"):
        build_backbone(section(source="torchvision", name="resnet18"), channels=3, image_size=None)


@pytest.mark.parametrize(
    "change", [lambda s: s.pop("layer1.0.bn1.bias"), lambda s: s.update(extra=s["bn1.bias"])]
)
def test_published_weights_must_fit_key_by_key(change, section, publish):
    state = library.resnet18().state_dict()
    change(state)
    publish("resnet18", state)
    with pytest.raises(WeightsError, match="do not fit resnet18"):
        build_backbone(section(source="torchvision", name="resnet18"), channels=3, image_size=None)


def test_coco_weights_belong_to_whole_models(section):
    spec = section(source="torchvision", name="resnet50", weights="COCO_V1")
    assert build_backbone(spec, channels=3, image_size=None, pretrained=False, device="meta").num_features
    with pytest.raises(WeightsError, match="whole detector or segmenter"):
        build_backbone(spec, channels=3, image_size=None)


def test_none_is_a_random_start_that_follows_the_seed(section):
    spec = section(source="torchvision", name="resnet18", weights="none")
    torch.manual_seed(1)
    first = build_backbone(spec, channels=5, image_size=None)
    torch.manual_seed(1)
    second = build_backbone(spec, channels=5, image_size=None)
    kernel = first.get_parameter("model.conv1.weight")
    assert kernel.shape == (64, 5, 7, 7)
    assert torch.equal(kernel, second.get_parameter("model.conv1.weight"))
    assert kernel.std().item() == pytest.approx((2 / (64 * 49)) ** 0.5 * (3 / 5) ** 0.5, rel=0.05)


def test_old_files_without_batch_norm_counters(section, publish):
    state = library.resnet18().state_dict()
    publish("resnet18", {key: v for key, v in state.items() if not key.endswith("num_batches_tracked")})
    backbone = build_backbone(section(source="torchvision", name="resnet18"), channels=3, image_size=None)
    assert {buffer.device.type for buffer in backbone.buffers()} == {"cpu"}
    assert backbone.train()(torch.rand(2, 3, 64, 64)).shape == (2, 512)
    assert backbone.get_buffer("model.bn1.num_batches_tracked").item() == 1


def test_the_published_vit_has_older_names_for_its_mlp(section, publish):
    state = library.vit_b_16().state_dict()
    renamed = {
        k.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v for k, v in state.items()
    }
    publish("vit_b_16", renamed)
    backbone = build_backbone(section(source="torchvision", name="vit_b_16"), channels=3, image_size=None)
    name = "encoder.layers.encoder_layer_3.mlp.3.weight"
    assert torch.equal(backbone.get_parameter(f"model.{name}"), state[name])
