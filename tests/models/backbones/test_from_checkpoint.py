from __future__ import annotations

import hashlib
import logging

import pytest
import timm
import torch
import torchvision.models as library
from safetensors.torch import save_file

from transferflow.errors import PlanError, WeightsError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.backbones.from_checkpoint import checkpoint_file


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(1)
    return library.resnet18().eval()


@pytest.fixture
def checkpoint(section):
    def make(path, **values):
        options = {"source": "checkpoint", "name": "resnet18", "weights": str(path)} | values
        return section(**options)

    return make


def build(spec, **values):
    return build_backbone(spec, **({"channels": 3, "image_size": 64} | values)).eval()


def features(model):
    bare = library.resnet18().eval()
    bare.load_state_dict(model.state_dict())
    bare.fc = torch.nn.Identity()
    return bare


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_plain_file(suffix, resnet, checkpoint, tmp_path, caplog):
    path = tmp_path / f"model{suffix}"
    write = save_file if suffix == ".safetensors" else torch.save
    write(resnet.state_dict(), path)
    with caplog.at_level(logging.INFO, "transferflow"):
        backbone = build(checkpoint(path))
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(backbone(images), features(resnet)(images))
    assert "100 keys matched (100.0%); 2 unexpected: fc." in caplog.text
    assert backbone.preprocessing.mean == (0.485, 0.456, 0.406)


def test_prefix_and_key_map(resnet, checkpoint, tmp_path):
    renamed = {}
    for key, value in resnet.state_dict().items():
        for old, new in (("conv1.", "stem.0."), ("bn1.", "stem.1."), ("layer", "stage")):
            if key.startswith(old):
                key = new + key.removeprefix(old)
                break
        renamed[f"module.encoder.{key}"] = value
    torch.save({"state_dict": renamed}, tmp_path / "model.pth")
    spec = checkpoint(
        tmp_path / "model.pth",
        prefix="module.encoder.",
        key_map={"stem.0.": "conv1.", "stem.1.": "bn1.", "stage": "layer"},
    )
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(build(spec)(images), features(resnet)(images))
    with pytest.raises(WeightsError, match=r"stem\.0\.weight"):
        build(checkpoint(tmp_path / "model.pth", prefix="module.encoder."))


def test_a_forgotten_prefix_is_suggested(resnet, checkpoint, tmp_path):
    torch.save({f"module.{k}": v for k, v in resnet.state_dict().items()}, tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=r"0 keys matched(.|\n)*set backbone.prefix"):
        build(checkpoint(tmp_path / "model.pth"))


def test_min_match(resnet, checkpoint, tmp_path, caplog):
    state = resnet.state_dict()
    del state["layer1.0.bn1.weight"]
    torch.save(state, tmp_path / "model.pth")
    build(checkpoint(tmp_path / "model.pth"))
    assert "warning: weights of" in caplog.text
    assert "99 keys matched (99.0%); 1 missing: layer1.0.bn1.weight" in caplog.text
    assert "these stay random: layer1.0.bn1.weight" in caplog.text
    with pytest.raises(WeightsError, match="at least 100% matched"):
        build(checkpoint(tmp_path / "model.pth", min_match=1.0))
    with pytest.raises(WeightsError, match=r"at least 99\.5% matched"):
        build(checkpoint(tmp_path / "model.pth", min_match=0.995))
    # one tensor of a hundred, but a fifth of all numbers
    state["layer4.1.conv1.weight"] = state["layer4.1.conv1.weight"][:5]
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=r"of another shape: layer4\.1\.conv1\.weight"):
        build(checkpoint(tmp_path / "model.pth"))
    build(checkpoint(tmp_path / "model.pth", min_match=0.5))


def test_a_suggested_prefix_goes_on_from_the_one_that_is_set(resnet, checkpoint, tmp_path):
    torch.save({f"module.encoder.{k}": v for k, v in resnet.state_dict().items()}, tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=r"puts 'module\.encoder\.' before its keys"):
        build(checkpoint(tmp_path / "model.pth", prefix="module."))


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"prefix": "modul."}, r"backbone\.prefix: no key (.|\n)*puts 'module\.' before its keys"),
        (
            {"prefix": "module.", "key_map": {"leyer1.": "layer1."}},
            r"backbone\.key_map\.leyer1\.: (.|\n)*did you mean layer1\.",
        ),
        ({"key_map": {"module.": "", "module.layer": "layer", "stem.": ""}}, r"key_map\.stem\.: the entry"),
        (
            {"prefix": "module.", "key_map": {"layer2.0.": "layer1.0."}},
            r"layer1\.0\.conv1\.weight and module\.layer2\.0\.conv1\.weight both become layer1\.0\.conv1",
        ),
    ],
)
def test_rules_that_rename_nothing_or_too_much(values, match, resnet, checkpoint, tmp_path):
    torch.save({f"module.{k}": v for k, v in resnet.state_dict().items()}, tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=match):
        build(checkpoint(tmp_path / "model.pth", **values))


@pytest.mark.parametrize(
    ("kernel", "match"),
    [
        (None, r"conv1\.weight is missing"),
        (torch.zeros(64, 4, 7, 7), r"of shape 64 x 4 x 7 x 7(.|\n)*shape 64 x 3 x 7 x 7"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_layer_that_sees_the_image_never_stays_random(
    kernel, match, channels, resnet, checkpoint, tmp_path
):
    state = resnet.state_dict() | {"conv1.weight": kernel}
    torch.save({key: value for key, value in state.items() if value is not None}, tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=match):
        build(checkpoint(tmp_path / "model.pth", min_match=0.1), channels=channels)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("bn1.weight", torch.full((64,), torch.nan), "NaN or infinite"),
        ("bn1.weight", torch.full((64,), 1e300, dtype=torch.float64), "NaN or infinite"),
        ("bn1.weight", torch.ones(64, dtype=torch.int8), "int8"),
        ("bn1.weight", torch.ones(64, dtype=torch.bool), "bool"),
        ("bn1.weight", torch.ones(64, dtype=torch.complex64), "complex64"),
        ("bn1.running_var", -torch.ones(64), "negative"),
    ],
)
def test_values_that_are_no_weights_are_refused(key, value, why, resnet, checkpoint, tmp_path):
    torch.save(resnet.state_dict() | {key: value}, tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=rf"{key} \({why}\)"):
        build(checkpoint(tmp_path / "model.pth"))


def test_half_precision_and_counters_of_another_shape_are_taken(resnet, checkpoint, tmp_path):
    state = {key: value.half() for key, value in resnet.state_dict().items()}
    torch.save(state | {"bn1.num_batches_tracked": torch.ones(1)}, tmp_path / "model.pth")
    loaded = build(checkpoint(tmp_path / "model.pth")).get_parameter("model.conv1.weight")
    assert torch.equal(loaded, resnet.conv1.weight.half().float())


def test_keys_can_not_steer_the_terminal(resnet, checkpoint, tmp_path, caplog):
    torch.save(resnet.state_dict() | {"\x1b[2J\u202e": torch.ones(1)}, tmp_path / "model.pth")
    with caplog.at_level(logging.INFO, "transferflow"):
        build(checkpoint(tmp_path / "model.pth"))
    assert r"fc.bias, \x1b[2J\u202e" in caplog.text


@pytest.mark.parametrize("how", ["mean", "fold"])
def test_a_file_that_has_the_channels_already(how, checkpoint, tmp_path):
    model = library.resnet18().eval()
    model.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    torch.save(model.state_dict(), tmp_path / "gray.pth")
    spec = checkpoint(
        tmp_path / "gray.pth", channel_adaptation=how, normalization={"mean": [0.3], "std": [0.2]}
    )
    backbone = build(spec, channels=1)
    model.fc = torch.nn.Identity()
    images = torch.rand(2, 1, 64, 64)
    assert torch.equal(backbone(images), model(images))
    assert (backbone.preprocessing.mean, backbone.preprocessing.std) == ((0.3,), (0.2,))
    empty = build(spec, channels=1, pretrained=False)
    assert list(empty.state_dict()) == list(backbone.state_dict())


def test_an_rgb_file_is_adapted(resnet, checkpoint, tmp_path):
    torch.save(resnet.state_dict(), tmp_path / "model.pth")
    backbone = build(checkpoint(tmp_path / "model.pth", channel_adaptation="sum"), channels=1)
    wanted = resnet.conv1.weight.sum(1, keepdim=True)
    assert torch.allclose(backbone.get_parameter("model.conv1.weight"), wanted)


def test_vits_of_both_libraries_are_resampled(checkpoint, tmp_path):
    theirs = timm.create_model("vit_tiny_patch16_224")
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    spec = checkpoint(tmp_path / "timm.pth", library="timm", name="vit_tiny_patch16_224")
    wanted = timm.layers.resample_abs_pos_embed(theirs.pos_embed, new_size=[4, 4], num_prefix_tokens=1)
    assert torch.allclose(build(spec).get_parameter("model.pos_embed"), wanted)
    same = build(spec, image_size=None)
    images = torch.rand(1, 3, 224, 224)
    theirs.reset_classifier(0)
    assert torch.equal(same(images), theirs.eval()(images))


@pytest.mark.parametrize(
    ("name", "size"), [("beit_base_patch16_224", 64), ("swin_tiny_patch4_window7_224", 256)]
)
def test_tables_of_another_image_size_are_resampled_as_timm_does(name, size, checkpoint, tmp_path):
    theirs = timm.create_model(name)
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    found = build(checkpoint(tmp_path / "timm.pth", library="timm", name=name), image_size=size)
    overlay = {"file": str(tmp_path / "timm.pth")}
    wanted = timm.create_model(name, img_size=size, pretrained=True, pretrained_cfg_overlay=overlay)
    state = wanted.state_dict()
    for key, value in found.state_dict().items():
        assert torch.equal(value, state[key.removeprefix("model.")]), key


def test_tables_that_can_not_be_resampled_name_the_size(checkpoint, tmp_path):
    torch.save(timm.create_model("levit_128s").state_dict(), tmp_path / "timm.pth")
    spec = checkpoint(tmp_path / "timm.pth", library="timm", name="levit_128s")
    build(spec, image_size=224)
    with pytest.raises(WeightsError, match=r"images of 256 pixels(.|\n)*data\.image_size: 224"):
        build(spec, image_size=256)


def test_a_plan_sees_a_size_that_the_model_can_not_take(checkpoint, tmp_path):
    planned = {"pretrained": False, "device": "meta"}
    spec = checkpoint(tmp_path / "x.pth", library="timm", name="efficientformer_l1")
    with pytest.raises(PlanError, match="can't take images of 64 pixels"):
        build(spec, image_size=64, **planned)
    assert build(spec, image_size=224, **planned).num_features == 448
    vit = checkpoint(tmp_path / "x.pth", library="timm", name="vit_tiny_patch16_224")
    with pytest.raises(PlanError, match="patches of 16"):
        build(vit, image_size=100, **planned)
    with pytest.raises(PlanError, match=r"images of 16 pixels(.|\n)*32 or more"):
        build(checkpoint(tmp_path / "x.pth", name="convnext_tiny"), image_size=16, **planned)


def test_remote_files_are_downloaded_once_and_checked(resnet, checkpoint, tmp_path, loopback):
    torch.save(resnet.state_dict(), tmp_path / "model.pth")
    content = (tmp_path / "model.pth").read_bytes()
    loopback.files["/model.pth"] = content
    url = f"{loopback.url}/model.pth"
    right, wrong = hashlib.sha256(content).hexdigest(), "0" * 64
    for _ in range(2):
        build(checkpoint(url, sha256=right), offline=bool(loopback.asked))
    assert len(loopback.asked) == 1
    with pytest.raises(WeightsError, match="not the one that was asked for"):
        build(checkpoint(url, sha256=wrong))
    with pytest.raises(WeightsError, match="weights fetch SPEC"):
        build(checkpoint(url, sha256=wrong), offline=True)


def test_a_remote_file_is_kept_under_its_hash_and_its_own_name(checkpoint):
    section = checkpoint("https://example.org/team/model.pth?download=1", sha256="a" * 64)
    location = checkpoint_file(section).location
    assert (location.target.parent.name, location.target.name) == ("checkpoints", f"{'a' * 16}-model.pth")


def test_local_files(resnet, checkpoint, tmp_path):
    with pytest.raises(WeightsError, match="not on this machine"):
        build(checkpoint(tmp_path / "nothing.pth"))
    torch.save(resnet.state_dict(), tmp_path / "model.pth")
    with pytest.raises(WeightsError, match="not the one that was asked for"):
        build(checkpoint(tmp_path / "model.pth", sha256="0" * 64))
    build(checkpoint(f"file://{tmp_path / 'model.pth'}"))


def test_an_unknown_architecture(checkpoint, tmp_path):
    with pytest.raises(PlanError, match="no such torchvision backbone"):
        build(checkpoint(tmp_path / "x.pth", name="resnet19"), pretrained=False, device="meta")
    with pytest.raises(PlanError, match="no such timm model"):
        build(checkpoint(tmp_path / "x.pth", name="resnet19", library="timm"), pretrained=False)
