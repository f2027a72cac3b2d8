"""A loss or weights that are no numbers: where it stops, what is kept, and going on without the step."""

import logging

import pytest
import torch
from torch import nn

from transferflow.errors import TrainingError
from transferflow.spec.sections.optimizer import Sgd
from transferflow.training.job import Checkpointing, OptimizerSettings
from transferflow.training.loop.run import MOST_IN_A_ROW, train

SETTINGS = {"epochs": 2, "ema": 0.9}


def cross_entropy(model, batch):
    return {"loss": nn.functional.cross_entropy(model(batch.images), batch.targets)}


def state(job):
    return {name: tensor.clone() for name, tensor in job.model.state_dict().items()}


def places(folder):
    return sorted(path.name for path in (folder / "checkpoints").glob("epoch-*"))


def test_it_stops_at_the_step_names_the_image_and_keeps_what_was_before(build_job, random_loader, tmp_path):
    loader = random_loader(poison=(1, 1))
    bad = next(iter(loader.epoch(1, 1))).ids[0]
    with pytest.raises(TrainingError, match="the loss `cross_entropy` is not finite") as caught:
        train(build_job(train_loader=loader, settings=SETTINGS))
    (problem,) = caught.value.problems
    assert problem.where == "epoch 2, step 2"
    assert problem.found == f"nan; images with pixels that are not finite: {bad}"
    assert "training.on_nan=skip" in problem.hint
    assert places(tmp_path) == ["epoch-0001", "epoch-0001-step-00001"]


def test_skipping_goes_on_from_there_with_the_same_bits_as_skipping_at_once(
    build_job, random_loader, tmp_path, caplog
):
    loader, skip = random_loader(poison=(1, 1)), SETTINGS | {"on_nan": "skip"}
    with pytest.raises(TrainingError):
        train(build_job(train_loader=loader, settings=SETTINGS))
    later = build_job(train_loader=loader, settings=skip)
    result = train(later)
    with caplog.at_level(logging.WARNING):
        at_once = build_job(train_loader=loader, settings=skip, folder=tmp_path / "at_once")
        train(at_once)
    assert (
        "epoch 2, step 2 is left out: the loss `cross_entropy` is not finite (nan); images with pixels"
        in caplog.text
    )
    assert all(torch.equal(tensor, state(at_once)[name]) for name, tensor in state(later).items())
    assert all(tensor.isfinite().all() for tensor in state(later).values())  # running statistics too
    first, second = result.history
    assert "skipped_steps" not in first
    assert second["skipped_steps"] == 1
    assert second["train_loss"] < 10


def test_a_step_that_is_left_out_leaves_nothing(build_job, random_loader, tiny_model):
    """As if the training had not had the batch: weights, moments, average and running statistics."""
    seen = {}

    class Watch:
        def on_start(self, epochs, steps, first_epoch): ...

        def on_step(self, epoch, step, loss, lr):
            seen[epoch, step] = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}

        def on_epoch(self, epoch, values): ...

        def on_end(self): ...

    loader = random_loader(poison=(0, 2))
    train(
        build_job(tiny_model, train_loader=loader, settings={"epochs": 1, "on_nan": "skip"}, hooks=[Watch()])
    )
    assert list(seen) == [(0, 0), (0, 1)]
    assert all(torch.equal(tensor, seen[0, 1][name]) for name, tensor in tiny_model.state_dict().items())


def test_too_many_in_a_row_stop(build_job, random_loader):
    calls = []

    def losses(model, batch):
        calls.append(1)
        return {"loss": model(batch.images).sum() * torch.inf}

    job = build_job(losses=losses, settings={"epochs": 9, "on_nan": "skip"})
    with pytest.raises(TrainingError, match=f"not finite in {MOST_IN_A_ROW} steps in a row") as caught:
        train(job)
    assert len(calls) == MOST_IN_A_ROW
    assert "images of the batch: " in str(caught.value)


def ruin(at):
    """Losses whose gradient is no number at a step, though they are."""
    calls = []

    def losses(model, batch):
        calls.append(1)
        found = cross_entropy(model, batch)
        if len(calls) == at:
            found["bad"] = (model.head.weight.sum() * 0).sqrt()
        return found

    return losses


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_no_number_stops_before_the_weights_move(build_job, tmp_path, clip):
    job = build_job(losses=ruin(5), settings=SETTINGS | {"gradient_clip": clip})
    with pytest.raises(TrainingError, match="the gradient is not finite") as caught:
        train(job)
    assert caught.value.problems[0].where == "epoch 2, step 2"
    assert caught.value.problems[0].found.startswith("norm nan; images of the batch: ")
    assert all(tensor.isfinite().all() for tensor in state(job).values())
    assert places(tmp_path) == ["epoch-0001", "epoch-0001-step-00001"]


def test_weights_that_a_step_ruined_are_never_saved(build_job, tmp_path):
    """A step so long that weights overflow, with a loss and a gradient that are finite."""

    def steep(model, batch):
        return {"loss": cross_entropy(model, batch)["loss"] * 1e15}

    job = build_job(
        losses=steep,
        rates_from=Sgd(kind="sgd", lr=1e30),
        optimizer=OptimizerSettings("sgd", momentum=0.0, nesterov=False),
        checkpointing=Checkpointing(every_seconds=0.0),
    )
    with pytest.raises(TrainingError, match="the weights are not finite"):
        train(job)
    assert places(tmp_path) == []


def test_an_epoch_without_a_step_has_no_loss(build_job):
    """It is not 0."""
    seen = []

    def losses(model, batch):
        seen.append(1)
        return {"loss": cross_entropy(model, batch)["loss"] * (torch.nan if len(seen) <= 3 else 1)}

    first, second = train(build_job(losses=losses, settings={"epochs": 2, "on_nan": "skip"})).history
    assert first["skipped_steps"] == 3
    assert "train_loss" not in first
    assert second["train_loss"] > 0
