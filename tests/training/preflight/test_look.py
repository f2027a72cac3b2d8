"""One batch before the first epoch: what it finds, and that it changes nothing."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from transferflow.errors import TrainingError
from transferflow.spec.sections.freeze import FreezeBackbone, FreezePhases, Phase
from transferflow.training.job import FreezePhase, FreezeSchedule, OptimizerSettings, StartLoss
from transferflow.training.loop.run import train
from transferflow.training.optimizer import build_optimizer
from transferflow.training.preflight.look import decide_again, decide_phases, look_before
from transferflow.training.preflight.memory import optimizer_bytes

TRAINED = ("head", "*", "layer2")
PHASES = FreezePhases(policy="phases", phases=tuple(Phase(epochs=1, train=(name,)) for name in TRAINED))


def look(job):
    (batch, *_) = job.train_loader.epoch(0)
    return look_before(job, batch, 0.0, is_cached=False)


def named(found, name):
    return next(check for check in found.checks if check.name == name)


class StepLosses:
    """The loss of each step."""

    def __init__(self):
        self.found = []

    def on_start(self, epochs, steps, first_epoch): ...

    def on_step(self, epoch, step, loss, lr):
        self.found.append(loss)

    def on_epoch(self, epoch, values): ...

    def on_end(self): ...


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9, "gradient_clip": 1.0}])
def test_it_changes_nothing(build_job, tmp_path, settings):
    plain = build_job(folder=tmp_path / "plain", freeze=PHASES, settings=settings)
    without = train(plain)
    job = build_job(folder=tmp_path / "looked", freeze=PHASES, settings=settings)
    before, modes = state_of(job.model), [module.training for module in job.model.modules()]
    wants = [parameter.requires_grad for parameter in job.model.parameters()]
    draws = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    look(job)
    assert same(before, state_of(job.model))
    assert modes == [module.training for module in job.model.modules()]
    assert wants == [parameter.requires_grad for parameter in job.model.parameters()]
    assert all(parameter.grad is None for parameter in job.model.parameters())
    assert torch.equal(draws[0], torch.get_rng_state())
    assert draws[1:] == (random.getstate(), str(np.random.get_state()))
    result = train(job)
    assert same(state_of(plain.model), state_of(job.model))
    times = ("seconds", "images_per_second")
    plain_rows, rows = (
        [{k: v for k, v in row.items() if k not in times} for row in each.history]
        for each in (without, result)
    )
    assert plain_rows == rows


def test_its_loss_is_that_of_the_first_step(build_job):
    steps = StepLosses()
    job = build_job(hooks=[steps])
    found = look(job)
    train(job)
    assert found.figures["loss"] == steps.found[0]


def test_the_gradient_reaches_what_trains_in_the_first_and_in_the_widest_phase(build_job):
    job = build_job(freeze=PHASES)
    assert decide_phases(job) == (0, 1)
    found = look(job)
    first, widest = named(found, "gradient, epoch 1"), named(found, "gradient, epoch 2")
    assert first.found.startswith("reaches head (")
    assert "none of the 3 that are frozen" in first.expected
    assert all(group in widest.found for group in ("stem", "layer1", "layer2", "head"))
    assert first.verdict == widest.verdict == "fine"


def test_one_phase_is_looked_at_once(build_job):
    job = build_job(freeze=FreezeBackbone(policy="backbone"))
    assert decide_phases(job) == (0,)
    assert [check.name for check in look(job).checks if check.name.startswith("gradient")] == ["gradient"]


def test_a_group_that_no_gradient_reaches_is_a_fault(build_job, tiny_model):
    cut_off = tiny_model.layer1.register_forward_hook(lambda module, inputs, output: output.detach())
    with pytest.raises(TrainingError, match="no gradient reaches") as caught:
        look(build_job(tiny_model))
    cut_off.remove()
    assert caught.value.problems[0].found == "stem, layer1"


def test_a_last_layer_of_zeros_hides_nothing(build_job, tiny_model):
    nn.init.zeros_(tiny_model.head.weight)
    nn.init.zeros_(tiny_model.head.bias)
    found = look(build_job(tiny_model))
    assert found.figures["loss"] == pytest.approx(np.log(3))
    assert "stem (" in named(found, "gradient").found
    assert not tiny_model.head.weight.any()


def test_a_frozen_layer_of_zeros_does(build_job, tiny_model):
    nn.init.zeros_(tiny_model.head.weight)
    phases = (Phase(epochs=3, train=("stem", "layer1", "layer2")),)
    with pytest.raises(TrainingError, match="no gradient reaches") as caught:
        look(build_job(tiny_model, freeze=FreezePhases(policy="phases", phases=phases)))
    assert caught.value.problems[0].found == "stem, layer1, layer2"


def test_what_is_dropped_for_the_whole_batch_by_chance_is_no_fault(build_job, tiny_model):
    calls = []

    def dropped_first(module, inputs, output):
        calls.append(1)
        return output * (len(calls) > 1)

    tiny_model.layer2.register_forward_hook(dropped_first)
    assert "stem (" in named(look(build_job(tiny_model)), "gradient").found


def test_a_loss_that_is_off_is_a_warning(build_job):
    def starts(low, high):
        return lambda batch: {"cross_entropy": StartLoss(1.0, "by nature", low, high)}

    assert look(build_job(start_losses=starts(0.5, 2.5))).warnings == ()
    (high,) = look(build_job(start_losses=starts(0.1, 0.2))).warnings
    assert "where about 1.0000: by nature" in high
    assert "look at the labels" in high
    (low,) = look(build_job(start_losses=starts(9.0, 9.9))).warnings
    assert "gives the answers away" in low


@pytest.mark.parametrize("on_nan", ["stop", "skip"])
def test_a_loss_that_is_no_number(build_job, random_loader, on_nan):
    job = build_job(train_loader=random_loader(poison=(0, 0)), settings={"on_nan": on_nan})
    if on_nan == "stop":
        with pytest.raises(TrainingError, match="is not finite"):
            look(job)
    else:
        (warning,) = look(job).warnings
        assert "epoch 1, step 1 is left out" in warning


def test_a_model_that_trains_nothing_has_a_loss_alone(build_job, tiny_model):
    frozen = FreezeSchedule((FreezePhase(0, frozenset(g.name for g in tiny_model.groups)),), "frozen")
    found = look(replace(build_job(tiny_model), freeze=frozen))
    assert [check.name for check in found.checks] == ["loss"]
    assert found.figures.keys() == {"loss", "loss_cross_entropy"}


@pytest.mark.parametrize(
    ("spent", "again"),
    [
        ([0.01], True),
        ([9.0], True),
        ([11.0], False),
        ([0.4, 0.4], True),
        ([0.6, 0.5], False),
        ([0.1] * 3, False),
    ],
)
def test_how_often_a_step_is_timed(spent, again):
    assert decide_again(spent) == again


@pytest.mark.parametrize(("kind", "momentum"), [("adamw", 0.9), ("sgd", 0.9), ("sgd", 0.0)])
def test_an_optimizer_keeps_what_was_foreseen(build_job, tiny_model, kind, momentum):
    settings = OptimizerSettings(kind, momentum=momentum, nesterov=momentum > 0)
    job = build_job(tiny_model)
    tiny_model.stem.requires_grad_(False)
    optimizer = build_optimizer(tiny_model, job.rates, settings)
    foreseen = optimizer_bytes(tiny_model, settings)
    for parameter in tiny_model.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    tensors = [t for state in optimizer.state.values() for t in state.values() if isinstance(t, torch.Tensor)]
    assert foreseen == sum(tensor.nbytes for tensor in tensors if tensor.ndim > 0)
