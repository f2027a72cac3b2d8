from __future__ import annotations

import argparse
import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from transferflow.errors import WeightsError
from transferflow.models.state_files import read_state

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
        ("empty.pth", b""),
        ("text.pth", b"not a model"),
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


def test_other_kinds_of_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(WeightsError, match=r"\.safetensors, \.pth"):
        read_state(tmp_path / "model.zip")
    with pytest.raises(WeightsError, match="no such weights file"):
        read_state(tmp_path / "nothing.pth")
