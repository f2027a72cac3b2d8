from __future__ import annotations

import argparse
import os
import pickle
import re
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from transferflow.errors import WeightsError
from transferflow.models.weights.state_files import read_state

STATE = {"conv1.weight": torch.randn(2, 3, 1, 1), "bn1.bias": torch.randn(2)}


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


def same(found):
    return found.keys() == STATE.keys() and all(torch.equal(found[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize(
    "wrapped",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE, "optimizer": {"state": {}}},
        {"teacher": {"state_dict": STATE}},
        {**STATE, "epoch": 3},
        {"state_dict_ema": STATE, "state_dict": {}},
        {"ema": {"decay": 0.9, "module": STATE}},
        {"student": {"backbone": STATE, "head": {"x": torch.zeros(1)}}},
        {"encoder": STATE, "projector": {"x": torch.zeros(1)}},
        {"encoder": "resnet50", "params": STATE},
    ],
)
def test_state_dicts_are_found_in_training_checkpoints(wrapped, tmp_path):
    path = tmp_path / "model.pth"
    torch.save(wrapped, path)
    assert same(read_state(path))


def test_safetensors(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors")
    assert same(read_state(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("legacy", [True, False])
def test_hostile_pickles_are_not_run(legacy, tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "model.pth"
    torch.save({"a": Hostile(marker)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match="could run code"):
        read_state(path)
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps(Hostile(marker)))
    with pytest.raises(WeightsError):
        read_state(plain)
    assert not marker.exists()


def test_a_whole_pickled_model_is_refused_with_a_way_out(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="save its state dict"):
        read_state(tmp_path / "model.pt")
    torch.save({"args": argparse.Namespace(lr=1), **STATE}, tmp_path / "args.pt")
    with pytest.raises(WeightsError, match="Namespace"):
        read_state(tmp_path / "args.pt")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{"),
        ("huge.safetensors", b"\xff" * 64),
        ("zip.pth", b"PK\x03\x04 nothing"),
    ],
)
def test_damaged_files(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        read_state(tmp_path / name)


def test_a_cut_checkpoint(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(WeightsError, match="damaged"):
        read_state(path)


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], torch.randn(3), {"state_dict": {"x": 1}}])
def test_files_without_a_state_dict(content, tmp_path):
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        read_state(tmp_path / "model.pth")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>\n<html>\x1b[31mPlease log in", r"text: <!DOCTYPE html> <html>\\x1b\[31mPlease"),
        (b"version https://git-lfs.github.com/spec/v1", "text: version https://git-lfs"),
        (b"\x89HDF\r\n\x1a\n", "begins with the bytes 89 48 44 46"),
    ],
)
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors", "model"])
def test_what_is_no_weights_file_is_shown(content, match, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    if name.endswith("s") and content.startswith(b"\x89"):
        match = "damaged"
    with pytest.raises(WeightsError, match=match):
        read_state(tmp_path / name)


def test_the_content_says_what_a_file_is(tmp_path):
    save_file(STATE, tmp_path / "safe.pth")
    torch.save(STATE, tmp_path / "MODEL.PTH")
    torch.save(STATE, tmp_path / "0123-weights")
    torch.save(STATE, tmp_path / "wrong.safetensors")
    for name in ("safe.pth", "MODEL.PTH", "0123-weights", "wrong.safetensors"):
        assert same(read_state(tmp_path / name))
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(WeightsError, match=r"a zip archive of x(.|\n)*\.safetensors"):
        read_state(tmp_path / "model.zip")
    with pytest.raises(WeightsError, match="no such weights file"):
        read_state(tmp_path / "nothing.pth")


@pytest.mark.parametrize(
    ("kind", "tensor"),
    [
        ("sparse", torch.eye(3).to_sparse()),
        ("quantised", torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)),
        ("meta", torch.ones(3, device="meta")),
    ],
)
def test_tensors_without_plain_numbers_are_named(kind, tensor, tmp_path):
    torch.save({**STATE, "layer1.\x1b[2Jweight": tensor}, tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=rf"layer1\.\\x1b\[2Jweight \({kind}\)"):
        read_state(tmp_path / "model.pth")


def test_archives_are_checked_before_they_are_read(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"a": torch.zeros(100_000)}, path)
    with (
        zipfile.ZipFile(path) as whole,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for entry in whole.infolist():
            out.writestr(entry.filename, whole.read(entry))
    with pytest.raises(WeightsError, match="unpack to more than it is"):
        read_state(tmp_path / "b.pth")
    content = bytearray(path.read_bytes())
    content[200_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"damaged(.|\n)*checksum of model/data/0"):
        read_state(path)


def test_files_without_checksums_are_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, tmp_path / "model.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert same(read_state(tmp_path / "model.pth"))


@pytest.mark.filterwarnings("ignore")
def test_no_message_advises_to_read_unsafely(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "script.pt")
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps([1, 2]))
    for name, found in (
        ("script.pt", "TorchScript"),
        ("model.pt", "Linear"),
        ("plain.pkl", "not from torch"),
    ):
        with pytest.raises(WeightsError, match=found) as caught:
            read_state(tmp_path / name)
        assert not re.search("weights_only|allowlist|safe_globals", str(caught.value))


def test_a_tensor_that_is_larger_than_its_file_is_not_opened(tmp_path):
    """One number, said to fill a terabyte: whoever looked at the values would run out of memory."""
    torch.save({"fc.weight": torch.ones(1).expand(1 << 20, 1 << 18)}, tmp_path / "model.pth")
    assert (tmp_path / "model.pth").stat().st_size < 10_000
    with pytest.raises(WeightsError, match=r"fc\.weight of shape \(1048576, 262144\)"):
        read_state(tmp_path / "model.pth")
