"""Trained with what is frozen computed once, a model gets the weights that it gets without a cache."""

from __future__ import annotations

import logging

import pytest
import torch

from transferflow.errors import InterruptedRunError
from transferflow.training.activations import frozen


def losses(trained) -> list[float]:
    return [row["train_loss"] for row in trained[1]["epochs"]]


def assert_same_training(found, expected):
    """Every batch is of one size, so that the same kernels compute it: not a bit differs."""
    weights, history = expected
    assert all(torch.equal(found[0][name], value) for name, value in weights.items())
    assert found[1]["best_epoch"] == history["best_epoch"]
    assert losses(found) == losses(expected)
    assert found[1]["freeze_proof"] == history["freeze_proof"]


def computed(caplog) -> int:
    """How often activations were computed since the last time."""
    count = sum("once" in record.message for record in caplog.records if "computing" in record.message)
    caplog.clear()
    return count


@pytest.fixture(autouse=True)
def said(caplog):
    caplog.set_level(logging.INFO, "transferflow")


@pytest.mark.parametrize("task", ["classification", "regression", "detection", "segmentation"])
def test_the_weights_are_those_of_a_training_without_a_cache(train_in, tmp_path, caplog, task):
    cached = train_in(tmp_path / "a", task)
    assert computed(caplog) == 2  # training and validation images
    assert_same_training(cached, train_in(tmp_path / "b", task, training={"activation_cache": "off"}))
    assert computed(caplog) == 0


def test_the_same_in_bf16(train_in, tmp_path, caplog):
    """`precision: auto` is bf16 on CPUs that compute it."""
    training = {"precision": "bf16"}
    cached = train_in(tmp_path / "a", training=training)
    assert computed(caplog) == 2
    plain = train_in(tmp_path / "b", training=training | {"activation_cache": "off"})
    assert_same_training(cached, plain)


@pytest.mark.parametrize("task", ["classification", "detection", "segmentation"])
def test_large_images_are_computed_in_parts_with_and_without_a_cache(train_in, tmp_path, monkeypatch, task):
    """A batch of six in two parts of three, as one of six is more than the five that are allowed."""
    whole = train_in(tmp_path / "whole", task)
    monkeypatch.setattr(frozen, "_PIXELS_AT_ONCE", 5 * 64 * 64)
    seen = []
    compute_prefix = frozen.compute_prefix
    monkeypatch.setattr(
        frozen,
        "compute_prefix",
        lambda cut, model, images: seen.append(len(images)) or compute_prefix(cut, model, images),
    )
    cached = train_in(tmp_path / "a", task)
    assert set(seen) == {1, 3}  # one image tells the size of its activations
    seen.clear()
    assert_same_training(cached, train_in(tmp_path / "b", task, training={"activation_cache": "off"}))
    assert set(seen) == {3}
    for key, tensor in cached[0].items():
        torch.testing.assert_close(tensor, whole[0][key], rtol=1e-3, atol=1e-3)


PHASES = {
    "policy": "phases",
    "phases": [
        {"epochs": 2, "train": ["head"]},
        {"epochs": 2, "train": ["blocks.6", "conv_head", "head"]},
        {"epochs": 2, "train": ["head"]},
    ],
}


def test_a_schedule_of_phases_stopped_and_resumed(train_in, tmp_path, caplog, stopped_at_validation):
    sections = {"freeze": PHASES, "training": {"epochs": 6, "ema": 0.5}}
    off = {**sections, "training": sections["training"] | {"activation_cache": "off"}}
    plain = train_in(tmp_path / "plain", **off)
    with stopped_at_validation(4), pytest.raises(InterruptedRunError):
        train_in(tmp_path / "cached", **sections)
    # The moving average still follows when the third phase begins: its frozen part is not computed once.
    assert computed(caplog) == 4
    assert_same_training(train_in(tmp_path / "cached", **sections), plain)
    assert computed(caplog) == 1


def test_what_was_trained_in_a_phase_of_one_epoch_is_computed_anew(train_in, tmp_path, caplog):
    """Such a phase caches nothing; what it has changed must be seen all the same."""
    phases = [{"epochs": n, "train": train} for n, train in ((2, ["head"]), (1, ["*"]), (2, ["head"]))]
    sections = {"freeze": {"policy": "phases", "phases": phases}, "training": {"epochs": 5}}
    cached = train_in(tmp_path / "cached", **sections)
    assert computed(caplog) == 4  # training and validation images, in two phases
    off = {**sections, "training": {"epochs": 5, "activation_cache": "off"}}
    assert_same_training(cached, train_in(tmp_path / "plain", **off))


def test_another_training_with_the_same_frozen_part_finds_what_is_there(train_in, tmp_path, caplog):
    train_in(tmp_path)
    computed(caplog)
    train_in(tmp_path, optimizer={"lr": 1e-2}, head={"kind": "linear", "hidden": [8]})
    assert computed(caplog) == 0
    train_in(tmp_path, freeze={"policy": "until", "until": "blocks.3"})
    assert computed(caplog) == 2


def test_as_many_views_as_epochs_change_nothing(train_in, tmp_path, caplog):
    sections = {"augmentation": {"preset": "similar_domain"}, "training": {"epochs": 2}}
    plain = train_in(tmp_path / "a", **sections)
    assert computed(caplog) == 1  # the validation images, which are never varied
    views = {**sections, "training": {"epochs": 2, "activation_cache": {"views": 2}}}
    assert_same_training(train_in(tmp_path / "a", **views), plain)
    assert computed(caplog) == 2
    fewer = train_in(tmp_path / "a", **{**views, "training": {"epochs": 2, "activation_cache": {"views": 1}}})
    assert computed(caplog) == 0  # the first of the two views
    assert losses(fewer)[0] == losses(plain)[0]
    assert losses(fewer)[1] != losses(plain)[1]


def test_damaged_activations_are_computed_again(train_in, tmp_path, caplog):
    plain = train_in(tmp_path)
    shards = sorted(tmp_path.glob("cache/activations/*/*.bin"))
    assert len(shards) == 2
    for shard in shards:
        with shard.open("r+b") as stream:
            stream.seek(100)
            stream.write(b"damage")
    found = train_in(tmp_path, training={"label_smoothing": 1e-12})  # another key, the same arithmetic
    assert "damaged" in caplog.text
    for name, value in plain[0].items():
        torch.testing.assert_close(found[0][name], value)


def test_without_room_on_the_disk_they_are_kept_in_memory(train_in, tmp_path, caplog):
    plain = train_in(tmp_path / "a")
    computed(caplog)
    assert_same_training(train_in(tmp_path / "b", data={"cache": None}), plain)
    assert computed(caplog) == 2
    assert not (tmp_path / "b" / "cache" / "activations").exists()


def test_what_does_not_fit_is_computed_in_every_epoch(train_in, tmp_path, caplog):
    plain = train_in(tmp_path / "a")
    computed(caplog)
    assert_same_training(train_in(tmp_path / "b", data={"cache": {"max_gb": 1e-5}}), plain)
    assert "they do not fit" in caplog.text
    assert computed(caplog) == 0
