from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torchvision.models as library
from safetensors.torch import save_file
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_V2_Weights

from transferflow.errors import WeightsError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.backbones.weights import locate_weights
from transferflow.models.spec_weights import (
    check_spec_weights,
    files_of,
    missing_spec_weights,
    needed_weights,
    weights_of,
)
from transferflow.models.weights.files import WeightFile, is_offline
from transferflow.models.weights.lock import (
    lock_weights,
    read_lock,
    verified_weights,
    write_lock,
)
from transferflow.models.weights.needed import missing_among, weights_identity
from transferflow.spec import ExperimentSpec


def spec(**changes):
    values = {
        "name": "x",
        "task": {"kind": "classification"},
        "data": {"format": "image_folder", "root": "images"},
        "backbone": {"source": "torchvision", "name": "resnet50"},
    }
    return ExperimentSpec.model_validate(values | changes)


def identity_of(spec):
    return weights_identity(needed_weights(spec))


@pytest.fixture
def lock(tmp_path, monkeypatch):
    path = tmp_path / "weights.lock"
    monkeypatch.setenv("TRANSFERFLOW_WEIGHTS_LOCK", str(path))
    return path


@pytest.fixture
def published(publish, section):
    torch.manual_seed(0)
    path = publish("resnet18", library.resnet18().state_dict())
    return path, section(source="torchvision", name="resnet18")


def missing_weights(section):
    file = locate_weights(section)
    return missing_among(() if file is None else (file,))


def test_missing_files_are_named(section):
    (missing,) = missing_weights(section(source="torchvision", name="resnet18"))
    assert str(missing).startswith("torchvision resnet18 IMAGENET1K_V1: https://")
    (missing,) = missing_weights(section(source="timm", name="vit_tiny_patch16_224"))
    assert missing.address == "hf://timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k/model.safetensors"
    assert missing_weights(section(source="torchvision", name="resnet18", weights="none")) == ()
    assert missing_weights(section(source="package", name="tf_efficientnet_lite0")) == ()


def test_offline_fails_at_once(section, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert is_offline()
    with pytest.raises(WeightsError, match="transferflow weights fetch SPEC"):
        missing_weights(section(source="torchvision", name="resnet18"))
    with pytest.raises(WeightsError, match=r"hf download timm/resnet50\.a1_in1k"):
        missing_weights(section(source="timm", name="resnet50"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert missing_weights(section(source="timm", name="resnet50"))


def test_what_no_download_can_bring_fails_online_too(section, tmp_path):
    local = section(source="checkpoint", name="resnet18", weights=str(tmp_path / "nothing.pth"))
    with pytest.raises(WeightsError, match="relative to the folder"):
        missing_weights(local)


def test_torchvision_weights_are_downloaded(published, loopback, monkeypatch):
    path, section = published
    content = path.read_bytes()
    path.unlink()
    loopback.files[f"/{path.name}"] = content
    known = library.ResNet18_Weights.DEFAULT
    monkeypatch.setattr(known.value, "url", f"{loopback.url}/{path.name}")
    loopback.cut_after = [5_000_000]
    backbone = build_backbone(section, channels=3, image_size=None)
    assert path.read_bytes() == content
    assert len(loopback.asked) == 2
    assert torch.isfinite(backbone.get_parameter("model.conv1.weight")).all()


def test_detectors_and_segmenters_start_from_whole_models():
    data = {"format": "coco", "root": "x", "annotations": "y.json"}
    detection = spec(task={"kind": "detection"}, data=data)
    assert weights_of(detection).tag == "COCO_V1"
    assert weights_of(detection).address == FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1.url
    masks = {"format": "mask_folder", "root": "x"}
    segmentation = spec(task={"kind": "segmentation"}, data=masks)
    assert "deeplabv3_resnet50_coco" in weights_of(segmentation).address
    other = spec(task={"kind": "segmentation"}, data=masks, head={"kind": "lite"})
    assert weights_of(other).tag == "IMAGENET1K_V2"
    assert weights_of(spec()).tag == "IMAGENET1K_V2"
    assert missing_spec_weights(detection)[0].tag == "COCO_V1"


def test_identity_follows_the_content_of_a_local_file(tmp_path):
    path = tmp_path / "mine.pth"
    mine = spec(backbone={"source": "checkpoint", "name": "resnet18", "weights": str(path)})
    path.write_bytes(b"one")
    first = identity_of(mine)
    path.write_bytes(b"two")
    assert first != identity_of(mine)
    assert identity_of(mine) == {"mine.pth": hashlib.sha256(b"two").hexdigest()}
    assert list(identity_of(spec())) == [library.ResNet50_Weights.DEFAULT.url]
    assert identity_of(spec(backbone={"source": "timm", "name": "resnet50", "weights": "none"})) == {}


def test_a_locked_file_is_verified_in_every_run(published, lock):
    path, section = published
    file = locate_weights(section)
    assert isinstance(file, WeightFile)
    write_lock(lock, [lock_weights(file, path)])
    build_backbone(section, channels=3, image_size=None)
    document = json.loads(lock.read_text())
    assert document["weights"][0] == {
        "source": "torchvision",
        "name": "resnet18",
        "tag": "IMAGENET1K_V1",
        "address": file.address,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": "BSD-3-Clause",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    document["weights"][0]["sha256"] = "0" * 64
    lock.write_text(json.dumps(document))
    with pytest.raises(WeightsError, match="not the one that was locked"):
        build_backbone(section, channels=3, image_size=None)
    write_lock(lock, [])
    with pytest.raises(WeightsError, match="not in the lock file"):
        verified_weights(file)


def test_a_lock_that_is_named_must_be_there(published, lock):
    _, section = published
    file = locate_weights(section)
    with pytest.raises(WeightsError, match=r"TRANSFERFLOW_WEIGHTS_LOCK: there is no such lock file"):
        verified_weights(file)
    lock.mkdir()
    with pytest.raises(WeightsError, match=r"lock file can't be read\n.*IsADirectoryError"):
        verified_weights(file)


def test_two_entries_for_one_address_are_refused(published, lock):
    path, section = published
    entry = lock_weights(locate_weights(section), path)
    write_lock(lock, [entry, replace(entry, sha256="0" * 64)])
    with pytest.raises(WeightsError, match="two entries for https:"):
        read_lock(lock)


def test_with_a_lock_the_identity_is_what_is_locked(published, lock):
    path, section = published
    mine = spec(backbone={"source": "torchvision", "name": "resnet18", "weights": "IMAGENET1K_V1"})
    entry = lock_weights(locate_weights(section), path)
    write_lock(lock, [entry])
    assert identity_of(mine) == {entry.address: hashlib.sha256(path.read_bytes()).hexdigest()}
    check_spec_weights(mine)
    path.unlink()  # what was trained before needs no weights: their entry will do
    check_spec_weights(mine)
    write_lock(lock, [])
    for look in (check_spec_weights, identity_of):
        with pytest.raises(WeightsError, match="not in the lock file"):
            look(mine)
    assert identity_of(spec(backbone={"source": "timm", "name": "resnet50", "weights": "none"})) == {}


def test_every_file_of_a_spec_is_in_its_identity(tmp_path, lock):
    clip = {"source": "timm", "name": "vit_base_patch16_clip_quickgelu_224", "weights": "openai"}
    mine = spec(backbone=clip, head={"kind": "zero_shot"})
    write_lock(lock, [])
    with pytest.raises(WeightsError) as caught:
        check_spec_weights(mine)
    assert len(caught.value.problems) == 3
    some = tmp_path / "some"
    some.write_bytes(b"x")
    write_lock(lock, [lock_weights(file, some) for file in files_of(mine)])
    assert len(identity_of(mine)) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"format": 9}',
        '{"format": 2, "weights": []}',
        '{"format": 1, "weights": [{}]}',
        "[1]",
        pytest.param("[" * 9999, id="deep"),
    ],
)
def test_a_broken_lock_file(text, lock):
    lock.write_text(text)
    with pytest.raises(WeightsError, match="lock file can't be read"):
        read_lock(lock)


def test_a_pipe_in_the_place_of_the_lock_file_is_not_waited_for(lock):
    os.mkfifo(lock)
    with pytest.raises(WeightsError, match="not a regular file"):
        read_lock(lock)


@pytest.mark.slow
def test_hub_files_come_through_the_hubs_client(tmp_path, loopback):
    """In a process of its own: the client reads its environment once, when it is imported."""
    import timm

    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "model.safetensors")
    repository = timm.models.get_pretrained_cfg("test_resnet").hf_hub_id
    loopback.files[f"/{repository}/resolve/main/model.safetensors"] = (
        tmp_path / "model.safetensors"
    ).read_bytes()
    script = (
        "from pydantic import TypeAdapter\n"
        "from transferflow.errors import WeightsError\n"
        "from transferflow.models.backbones.build import build_backbone\n"
        "from transferflow.models.backbones.weights import locate_weights\n"
        "from transferflow.models.weights.needed import missing_among\n"
        "from transferflow.spec.sections.backbone import Backbone\n"
        "make = TypeAdapter(Backbone).validate_python\n"
        "section = make({'source': 'timm', 'name': 'test_resnet'})\n"
        "print(len(missing_among([locate_weights(section)])))\n"
        "first = build_backbone(section, channels=3, image_size=None)\n"
        "print(len(missing_among([locate_weights(section)])))\n"
        "build_backbone(section, channels=3, image_size=None, offline=True)\n"
        "try:\n"
        "    build_backbone(make({'source': 'timm', 'name': 'test_vit'}), channels=3, image_size=None)\n"
        "except WeightsError as error:\n"
        "    print(error)\n"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": loopback.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "HF_HUB_OFFLINE"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    before, after, *message = done.stdout.splitlines()
    assert (before, after) == ("1", "0")
    assert "could not be downloaded" in message[0]
    assert list((tmp_path / "hf").rglob("model.safetensors"))
