"""Weights that move before anybody has looked at the numbers: the same training, whatever cuts in."""

import os
import signal

import pytest
import torch
from torch import nn

from transferflow.errors import TerminatedRunError, TrainingError
from transferflow.spec.sections.freeze import FreezePhases, Phase
from transferflow.spec.sections.optimizer import Sgd
from transferflow.training.device import Arithmetic
from transferflow.training.job import Checkpointing, LoopSettings, OptimizerSettings
from transferflow.training.loop import build
from transferflow.training.loop.run import train
from transferflow.training.loop.stepper import Stepper

PHASES = FreezePhases(
    policy="phases",
    batch_norm="frozen",
    phases=(Phase(epochs=1, train=("head",)), Phase(epochs=2, train=("*",), lr_scale=0.5)),
)
SGD = {"rates_from": Sgd(kind="sgd", lr=0.05), "optimizer": OptimizerSettings("sgd")}
KINDS = pytest.mark.parametrize("kind", [{}, SGD], ids=["adamw", "sgd"])
SETTINGS = {"epochs": 3, "gradient_clip": 1.0}


def state(job):
    return {name: tensor.clone() for name, tensor in job.model.state_dict().items()}


def equal(one, other):
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def rows(result):
    return [{k: v for k, v in row.items() if "second" not in k} for row in result.history]


class Watch:
    """Notes the steps that it is told; may send a signal after one."""

    def __init__(self, stop=None):
        self.steps, self.stop = [], stop

    def on_start(self, epochs, steps, first_epoch): ...

    def on_step(self, epoch, step, loss, lr):
        self.steps.append((epoch, step, loss, lr))
        if (epoch, step) == self.stop:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_epoch(self, epoch, values): ...

    def on_end(self): ...


@pytest.fixture
def ahead(monkeypatch):
    """From here on, trainings run ahead on this device."""
    return lambda: monkeypatch.setattr(build, "decide_to_run_ahead", lambda *_: True)


@pytest.fixture
def undisturbed(build_job, tmp_path):
    """A training in step: its job, result and watch."""

    def run(**parts):
        watch = Watch()
        job = build_job(freeze=PHASES, folder=tmp_path / "in-step", hooks=[watch], settings=SETTINGS, **parts)
        return job, train(job), watch

    return run


@KINDS
def test_the_same_training(build_job, undisturbed, ahead, kind):
    alike, expected, told = undisturbed(**kind)
    ahead()
    watch = Watch()
    often = Checkpointing(every_seconds=0.0)
    job = build_job(freeze=PHASES, settings=SETTINGS, hooks=[watch], checkpointing=often, **kind)
    assert rows(train(job)) == rows(expected)
    assert equal(state(job), state(alike))
    assert watch.steps == told.steps


def ruined(at, kind):
    """Losses of which one (`loss`) or whose gradient is no number at a step."""
    calls = []

    def losses(model, batch):
        calls.append(1)
        found = {"loss": nn.functional.cross_entropy(model(batch.images), batch.targets)}
        if len(calls) == at and kind == "loss":
            found["loss"] = found["loss"] * torch.nan
        if len(calls) == at and kind == "gradient":
            found["bad"] = (model.head.weight.sum() * 0).sqrt()
        return found

    return losses


def plain(model, batch):
    return {"loss": nn.functional.cross_entropy(model(batch.images), batch.targets)}


@KINDS
@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize(
    ("at", "where", "saved"),
    [
        (4, "epoch 2, step 1", []),
        (5, "epoch 2, step 2", ["epoch-0001-step-00001"]),
        (6, "epoch 2, step 3", ["epoch-0001-step-00002"]),
    ],
)
def test_a_bad_step_moves_nothing_and_stops_there(
    build_job, undisturbed, ahead, tmp_path, kind, what, at, where, saved
):
    """The first step of a phase, one within, and the last one of an epoch, which nothing follows."""
    alike, _, _ = undisturbed(losses=plain, **kind)
    ahead()
    parts = {"freeze": PHASES, "settings": SETTINGS, **kind}
    with pytest.raises(TrainingError, match="is not finite") as caught:
        train(build_job(losses=ruined(at, what), **parts))
    assert caught.value.problems[0].where == where
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("epoch-*")) == ["epoch-0001", *saved]
    job = build_job(losses=plain, **parts)  # the step is good this time
    train(job)
    assert equal(state(job), state(alike))


def test_what_a_bad_step_was_the_first_to_move_starts_anew(build_job, undisturbed, ahead):
    """A fused SGD makes a momentum then, and fills it with nothing."""

    def losses(bad):
        calls = []

        def of(model, batch):
            calls.append(1)
            features = model.features(batch.images)
            logits = model.head(features if len(calls) > 4 else features.detach())
            loss = nn.functional.cross_entropy(logits, batch.targets)
            return {"loss": loss * (torch.nan if len(calls) == bad else 1)}

        return of

    alike, _, _ = undisturbed(losses=losses(None), **SGD)
    ahead()
    parts = {"freeze": PHASES, "settings": SETTINGS, **SGD}
    with pytest.raises(TrainingError, match="is not finite"):
        train(build_job(losses=losses(5), **parts))
    later = losses(None)
    for _ in range(4):
        later(alike.model, next(iter(alike.train_loader.epoch(0))))
    job = build_job(losses=later, **parts)
    train(job)
    assert equal(state(job), state(alike))


@KINDS
@pytest.mark.parametrize("place", [(0, 0), (1, 0), (1, 2), (2, 1)])
def test_a_stop_loses_nothing(build_job, undisturbed, ahead, kind, place):
    alike, expected, told = undisturbed(**kind)
    ahead()
    first, second = Watch(stop=place), Watch()
    parts = {"freeze": PHASES, "settings": SETTINGS, **kind}
    with pytest.raises(TerminatedRunError):
        train(build_job(hooks=[first], **parts))
    job = build_job(hooks=[second], **parts)
    assert rows(train(job)) == rows(expected)
    assert equal(state(job), state(alike))
    assert first.steps + second.steps == told.steps


def test_a_stop_in_a_forward_pass_counts_the_step_before(build_job, undisturbed, ahead):
    alike, _, _ = undisturbed(losses=plain)
    ahead()
    calls = []

    def losses(model, batch):
        found = plain(model, batch)
        calls.append(1)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return found

    parts = {"freeze": PHASES, "settings": SETTINGS}
    with pytest.raises(TerminatedRunError, match="1 of 3 epochs and 1 of 3 steps"):
        train(build_job(losses=losses, **parts))
    job = build_job(losses=plain, **parts)
    train(job)
    assert equal(state(job), state(alike))


@pytest.mark.parametrize(
    ("device", "precision", "more", "expected"),
    [
        ("cuda", "bf16", {}, True),
        ("cuda", "fp32", {}, True),
        ("cuda", "fp16", {}, False),
        ("cuda", "bf16", {"ema": 0.9}, False),
        ("cuda", "bf16", {"on_nan": "skip"}, False),
        ("cpu", "fp32", {}, False),
    ],
)
def test_who_runs_ahead(device, precision, more, expected):
    given = {"ema": None, "on_nan": "stop"} | more
    settings = LoopSettings(3, 0, precision, device, "accuracy", False, None, gradient_clip=None, **given)
    arithmetic = Arithmetic(precision, torch.channels_last)
    assert build.decide_to_run_ahead(settings, torch.device(device), arithmetic) is expected


@pytest.mark.parametrize("at", ["move", "read"])
def test_two_signals_at_once_are_one_stop(build_job, undisturbed, ahead, monkeypatch, at):
    """Both come while what must not be cut is under way, or while the numbers of a step are waited for."""
    alike, _, _ = undisturbed()
    ahead()
    plain, calls = getattr(Stepper, at), []

    def twice(self, *given):
        calls.append(1)
        if len(calls) == 5:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, *given)

    monkeypatch.setattr(Stepper, at, twice)
    parts = {"freeze": PHASES, "settings": SETTINGS}
    with pytest.raises(TerminatedRunError):
        train(build_job(**parts))
    monkeypatch.setattr(Stepper, at, plain)
    job = build_job(**parts)
    train(job)
    assert equal(state(job), state(alike))


def test_a_hook_that_fails_while_it_stops_costs_nothing(build_job, undisturbed, ahead, tmp_path, monkeypatch):
    """The stop comes before the second step of an epoch has been told."""
    alike, _, _ = undisturbed()
    ahead()
    plain, calls = Stepper.gradients, []

    def stop(self, *given):
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, *given)

    class Full(Watch):
        def on_step(self, epoch, step, loss, lr):
            if (epoch, step) == (1, 1):
                raise OSError("the disk is full")

    monkeypatch.setattr(Stepper, "gradients", stop)
    parts = {"freeze": PHASES, "settings": SETTINGS}
    with pytest.raises(OSError, match="the disk is full"):
        train(build_job(hooks=[Full()], **parts))
    saved = [path.name for path in (tmp_path / "checkpoints").glob("epoch-0001-*")]
    assert saved == ["epoch-0001-step-00002"]
    monkeypatch.setattr(Stepper, "gradients", plain)
    job = build_job(**parts)
    train(job)
    assert equal(state(job), state(alike))
