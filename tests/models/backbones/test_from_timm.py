from __future__ import annotations

import math
import os
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.optim import param_groups_layer_decay

from transferflow.errors import PlanError, WeightsError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.backbones.from_timm import build_timm
from transferflow.models.backbones.timm_weights import resolve_timm, timm_preprocessing
from transferflow.models.channels import ChannelPlan
from transferflow.models.classifier import ImageClassifier
from transferflow.models.layers import head_distances

MODELS = [
    *("resnet10t", "resnet50", "resnetv2_50x1_bit", "resnet50_clip", "seresnext26ts", "wide_resnet50_2"),
    *("convnext_tiny", "convnextv2_atto", "efficientnet_b0", "tf_efficientnetv2_b0", "mobilenetv3_small_100"),
    *("mobilenetv4_conv_small", "regnety_002", "densenet121", "vgg11_bn", "ghostnet_100", "mobileone_s0"),
    *("vit_tiny_patch16_224", "vit_base_patch16_clip_224", "vit_small_patch14_dinov2", "test_vit3"),
    *("vit_small_patch16_dinov3", "vit_base_patch16_siglip_224", "deit_tiny_distilled_patch16_224"),
    *("eva02_tiny_patch14_224", "beit_base_patch16_224", "swin_tiny_patch4_window7_224", "hiera_tiny_224"),
    *("swinv2_tiny_window8_256", "maxvit_nano_rw_256", "coatnet_nano_rw_224", "mixer_s16_224", "nf_resnet50"),
    *(
        "poolformer_s12",
        "caformer_s18",
        "levit_128s",
        "xcit_nano_12_p16_224",
        "edgenext_xx_small",
        "rexnet_100",
    ),
    *(
        "cait_xxs24_224",
        "hgnetv2_b0",
        "fastvit_t8",
        "repvgg_a0",
        "dla34",
        "rdnet_tiny",
        "dm_nfnet_f0",
        "inception_v3",
        "coat_lite_mini",
        "efficientvim_m1",
        "visformer_tiny",
        "qwen3_vit_88m",
    ),
]
WITHOUT_MATCHER = {"poolformer_s12", "caformer_s18", "inception_v3"}


def build(section, name, **values):
    options = {"channels": 3, "image_size": None, "pretrained": False, "device": "meta"} | values
    return build_backbone(section(source="timm", name=name, weights="none"), **options)


@pytest.mark.parametrize("name", MODELS)
def test_groups_are_total_and_shapes_are_as_declared(name, section, check_groups):
    backbone = build(section, name)
    check_groups(backbone)
    side, _ = backbone.preprocessing.image_size
    images = torch.empty(2, 3, side, side, device="meta")
    backbone.eval()
    assert backbone(images).shape == (2, backbone.num_features)
    check_groups(ImageClassifier(backbone, 4))
    if not backbone.levels:
        return
    for level, features in zip(backbone.levels, backbone.forward_levels(images), strict=True):
        assert features.shape[:2] == (2, level.channels)
        assert (
            features.shape[2] in {side // level.stride, math.ceil(side / level.stride)} or "inception" in name
        )


@pytest.mark.parametrize("name", [name for name in MODELS if name not in WITHOUT_MATCHER])
def test_layer_decay_equals_timms(name, section):
    backbone = build(section, name)
    with torch.device("meta"):
        twin = timm.create_model(name, num_classes=10)
    by_identity = {id(parameter): key for key, parameter in twin.named_parameters()}
    theirs = {
        f"model.{by_identity[id(parameter)]}": rates["lr_scale"]
        for rates in param_groups_layer_decay(twin, layer_decay=0.5)
        for parameter in rates["params"]
    }
    for group, row in zip(backbone.groups, head_distances(backbone.groups), strict=True):
        for block, distance in zip(group.blocks, row, strict=True):
            for parameter in block.parameters:
                assert 0.5**distance == pytest.approx(theirs[parameter]), parameter


def test_a_size_that_fills_no_whole_patches_is_taken_where_the_weights_had_it(section):
    backbone = build(section, "vit_so400m_patch14_siglip_gap_384")
    assert backbone.preprocessing.image_size == (384, 384)
    with pytest.raises(PlanError, match="multiple of 14"):
        build(section, "vit_so400m_patch14_siglip_gap_384", image_size=385)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("resnet50", ["conv1", "layer1", "layer2", "layer3", "layer4"]),
        ("resnet10t", ["conv1", "layer1", "layer2", "layer3", "layer4"]),
        ("convnext_tiny", ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "norm"]),
        ("efficientnet_b0", ["conv_stem", *(f"blocks.{i}" for i in range(7)), "conv_head"]),
        ("vit_tiny_patch16_224", ["patch_embed", *(f"blocks.{i}" for i in range(12)), "norm"]),
        ("vit_base_patch16_clip_224", ["patch_embed", *(f"blocks.{i}" for i in range(12)), "norm"]),
        ("swin_tiny_patch4_window7_224", ["patch_embed", *(f"layers.{i}" for i in range(4)), "norm"]),
        ("regnety_002", ["stem", "s1", "s2", "s3", "s4"]),
    ],
)
def test_groups_have_the_names_people_know(name, names, section):
    assert [group.name for group in build(section, name).groups] == names


@pytest.mark.parametrize(
    "name",
    [
        *("test_vit", "test_convnext", "test_efficientnet", "test_resnet", "test_mambaout", "test_nfnet"),
        *("mobilenetv3_small_050", "resnet50_clip", "vit_tiny_r_s16_p8_224", "levit_128s"),
        "deit_tiny_distilled_patch16_224",
    ],
)
def test_published_weights_are_loaded_strictly(name, tmp_path, section):
    full = timm.create_model(name)
    with torch.no_grad():
        for value in full.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.1, 0.2)
    file = tmp_path / "weights.pth"
    torch.save(full.state_dict(), file)
    choice = resolve_timm(name, "none")
    plan = ChannelPlan(3, "mean")
    backbone = build_timm(choice, timm_preprocessing(choice), plan, file=file)
    empty = build(section, name)
    assert list(backbone.state_dict()) == list(empty.state_dict())
    assert backbone.groups == empty.groups
    state = full.state_dict()
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, state[key.removeprefix("model.")]), key
    torch.save(dict(list(state.items())[1:]), file)
    with pytest.raises(WeightsError, match=f"do not fit {name}"):
        build_timm(choice, timm_preprocessing(choice), plan, file=file)


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


@pytest.fixture
def load():
    choice = resolve_timm("test_resnet", "none")
    return lambda file: build_timm(choice, timm_preprocessing(choice), ChannelPlan(3, "mean"), file=file)


@pytest.mark.parametrize(
    ("name", "spoil", "match"),
    [
        ("model.safetensors", lambda content: content[: len(content) // 2], "do not fit test_resnet"),
        ("pytorch_model.bin", lambda content: content[: len(content) // 2], "damaged"),
        ("pytorch_model.bin", lambda content: b"", "is empty"),
        ("pytorch_model.bin", lambda content: b"\x80\x02", "do not fit test_resnet"),
        ("model.safetensors", lambda content: b"<html>Log in", "text: <html>Log in"),
        ("weights.npz", lambda content: content[:100], "do not fit test_resnet"),
    ],
)
def test_damaged_files_are_refused(name, spoil, match, load, tmp_path):
    write = save_file if name.endswith("safetensors") else torch.save
    write(timm.create_model("test_resnet").state_dict(), tmp_path / "whole")
    (tmp_path / name).write_bytes(spoil((tmp_path / "whole").read_bytes()))
    with pytest.raises(WeightsError, match=match):
        load(tmp_path / name)


@pytest.mark.parametrize("legacy", [True, False])
def test_hostile_pickles_are_not_run(legacy, load, tmp_path):
    file = tmp_path / "pytorch_model.bin"
    torch.save({"x": Hostile(tmp_path / "marker")}, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match=r"more than tensors|needs posix\.mkdir") as caught:
        load(file)
    assert not (tmp_path / "marker").exists()
    assert "weights_only" not in str(caught.value)


def test_values_that_are_no_weights_are_refused(load, tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    state["conv1.0.weight"][0] = math.inf
    torch.save(state, tmp_path / "model.bin")
    with pytest.raises(WeightsError, match=r"conv1\.0\.weight \(NaN or infinite\)"):
        load(tmp_path / "model.bin")


def test_position_embeddings_are_resampled_to_the_image_size(tmp_path):
    full = timm.create_model("vit_tiny_patch16_224")
    file = tmp_path / "weights.pth"
    torch.save(full.state_dict(), file)
    choice = resolve_timm("vit_tiny_patch16_224", "none")
    for size in ((96, 96), (64, 160)):
        known = replace(timm_preprocessing(choice), image_size=size)
        backbone = build_timm(choice, known, ChannelPlan(3, "mean"), file=file)
        grid = [side // 16 for side in size]
        wanted = timm.layers.resample_abs_pos_embed(full.pos_embed, new_size=grid, num_prefix_tokens=1)
        assert torch.allclose(backbone.get_parameter("model.pos_embed"), wanted)
        assert backbone(torch.rand(1, 3, *size)).shape == (1, 192)


def test_preprocessing_follows_the_tag(section):
    spec = section(source="timm", name="vit_base_patch16_224", weights="augreg2_in21k_ft_in1k")
    known = build_backbone(spec, channels=3, image_size=None, pretrained=False, device="meta").preprocessing
    assert (known.mean, known.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (known.interpolation, known.image_size, known.crop_fraction) == ("bicubic", (224, 224), 0.9)


@pytest.mark.parametrize(
    ("values", "error", "match"),
    [
        ({"name": "resnet51"}, PlanError, "did you mean .*resnet50"),
        ({"name": "resnet50", "weights": "a1_in2k"}, WeightsError, "a1_in1k"),
        ({"name": "resnet50.a1_in1k", "weights": "a2_in1k"}, WeightsError, "two different tags"),
        ({"name": "vit_tiny_patch16_224", "image_size": 20}, PlanError, "multiple of 16, such as 16 or 32"),
        ({"name": "vit_small_patch14_dinov2", "image_size": 225}, PlanError, "such as 224 or 238"),
        ({"name": "swin_tiny_patch4_window7_224", "channels": 1, "image_size": 2}, PlanError, "patches of 4"),
        ({"name": "levit_128s", "image_size": 225}, PlanError, "can't take images of 225 pixels"),
        ({"name": "gemma4_vit_167m_enc", "channels": 1, "weights": "none"}, PlanError, "can't be adapted"),
    ],
)
def test_what_cannot_be_met_is_refused(values, error, match, section):
    spec = section(
        source="timm",
        name=values["name"],
        weights=values.get("weights", "DEFAULT"),
        channel_adaptation=values.get("how", "mean"),
    )
    with pytest.raises(error, match=match):
        build_backbone(
            spec,
            channels=values.get("channels", 3),
            image_size=values.get("image_size"),
            pretrained=False,
            device="meta",
        )


def test_missing_weights_name_the_repository(section, tmp_path):
    with pytest.raises(WeightsError, match=r"hf://timm/resnet50\.a1_in1k/model\.safetensors"):
        build_backbone(section(source="timm", name="resnet50"), channels=3, image_size=None, offline=True)
