"""What is kept, what is removed, and that it is on the disk."""

import os
from pathlib import Path

import pytest
import torch

from transferflow.training.checkpoints.contents import Checkpoint
from transferflow.training.checkpoints.folder import Checkpoints
from transferflow.training.checkpoints.start import Start
from transferflow.training.state import EpochState, LoopState


def checkpoint(epochs, steps=0, state=None):
    state = state or LoopState()
    running = EpochState(steps, 8 * steps, {"loss": 0.1 + 0.2}, 1.5)
    history = tuple({"epoch": float(epoch), "loss": 1 / 3} for epoch in range(epochs))
    state = LoopState(epochs, running, history, (), {"stem": "a"}, state.best_epoch, state.best_sha256)
    return Checkpoint(state, {"w": torch.full((3,), float(epochs))}, None, {"optimizer": {}, "scaler": {}})


@pytest.fixture
def shelf(tmp_path):
    return Checkpoints(tmp_path, "job", keep=2, start=Start({}, {}, ()))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_last_ones_and_the_best_are_kept(shelf, tmp_path):
    state = shelf.save(checkpoint(1), is_best=True)
    state = shelf.save(checkpoint(1, 7, state), is_best=False)
    assert names(tmp_path) == ["best-0000.safetensors", "epoch-0001", "epoch-0001-step-00007"]
    state = shelf.save(checkpoint(2, state=state), is_best=True)
    assert names(tmp_path) == [
        "best-0000.safetensors",  # of the checkpoint before, should the last one be damaged
        "best-0001.safetensors",
        "epoch-0001-step-00007",
        "epoch-0002",
    ]
    shelf.save(checkpoint(3, state=state), is_best=False)
    assert names(tmp_path) == ["best-0001.safetensors", "epoch-0002", "epoch-0003"]


def test_what_comes_back_is_what_was_saved(shelf):
    saved = checkpoint(2, 5)
    shelf.save(saved, is_best=False)
    found = shelf.load_last()
    assert found.state == saved.state
    assert torch.equal(found.weights["w"], saved.weights["w"])


def test_damage_beyond_the_place_is_removed_and_does_not_count_as_kept(shelf, tmp_path, caplog):
    shelf.save(checkpoint(1), is_best=False)
    shelf.save(checkpoint(2), is_best=False)
    (tmp_path / "epoch-0002" / "state.json").write_text("{")
    assert shelf.load_last().state.place == (1, 0)
    assert "the checkpoint epoch-0002 is damaged and not used" in caplog.text
    shelf.save(checkpoint(1, 3), is_best=False)
    assert names(tmp_path) == ["epoch-0001", "epoch-0001-step-00003"]


def test_damaged_best_weights_make_their_checkpoints_useless(shelf, tmp_path, caplog):
    shelf.save(checkpoint(1), is_best=False)
    shelf.save(checkpoint(2), is_best=True)
    file = tmp_path / "best-0001.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert shelf.load_last().state.place == (1, 0)
    assert "best-0001.safetensors" in caplog.text


def test_what_a_killed_process_left_is_removed_and_nothing_else(shelf, tmp_path):
    litter = f".epoch-0009-step-00001.{'a' * 32}", f".best-0003.safetensors.{'b' * 32}"
    (tmp_path / litter[0]).mkdir()
    (tmp_path / litter[0] / "weights.safetensors").touch()
    (tmp_path / litter[1]).touch()
    others = [".nfs0001", ".epoch-0009.backup", "notes.txt", "validation"]
    for name in others:
        (tmp_path / name).touch()
    shelf.sweep()
    shelf.save(checkpoint(1), is_best=False)
    assert names(tmp_path) == sorted([*others, "epoch-0001"])


def test_every_file_and_folder_is_flushed_before_the_rename_and_the_rename_after(
    shelf, tmp_path, monkeypatch
):
    events = []
    plain = os.fsync

    def flush(handle):
        events.append(str(Path(f"/proc/self/fd/{handle}").readlink()).removeprefix(str(tmp_path)))
        plain(handle)

    monkeypatch.setattr(os, "fsync", flush)
    shelf.save(checkpoint(1), is_best=True)
    best, folder, weights, optimizer, state, beside, last = events
    assert best.startswith("/.best-0000")
    assert folder == last == ""
    assert {weights, optimizer, state} == {
        f"{beside}/{name}" for name in ("weights.safetensors", "optimizer.pt", "state.json")
    }
    assert beside.startswith("/.epoch-0001.")


def test_a_save_that_fails_leaves_nothing_behind(shelf, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        shelf.save(checkpoint(1), is_best=False)
    assert names(tmp_path) == []
