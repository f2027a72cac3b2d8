import math

import pytest
import torch
from torch import nn

from transferflow.spec.freeze import FreezeLayers, FreezePhases, Phase
from transferflow.spec.optimizer import AdamW, Sgd
from transferflow.training.job import OptimizerSettings
from transferflow.training.loop import train

PHASES = FreezePhases(
    policy="phases",
    phases=(Phase(epochs=1, train=("head",)), Phase(epochs=2, train=("layer*", "head"), lr_scale=0.5)),
)


class Recorder:
    """A hook that keeps what it is told."""

    def __init__(self):
        self.started, self.steps, self.epochs, self.ended = None, [], [], 0

    def on_start(self, epochs, steps, first_epoch):
        self.started = (epochs, steps, first_epoch)

    def on_step(self, epoch, step, loss, lr):
        self.steps.append((epoch, step, loss, lr))

    def on_epoch(self, epoch, values):
        self.epochs.append((epoch, dict(values)))

    def on_end(self):
        self.ended += 1


class StopAt:
    """A hook that interrupts as ctrl-C does."""

    def __init__(self, epoch, step):
        self.at = (epoch, step)

    def on_start(self, epochs, steps, first_epoch): ...

    def on_step(self, epoch, step, loss, lr):
        if (epoch, step) == self.at:
            raise KeyboardInterrupt

    def on_epoch(self, epoch, values): ...

    def on_end(self): ...


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_equals_a_plain_torch_loop(build_job, tiny_model, random_loader):
    """The whole loop against ten lines of torch: same weights to the last bit but for the sum's order."""
    job = build_job(rates_from=AdamW(lr=0.01, weight_decay=0.1), settings={"epochs": 2})
    train(job)
    from transferflow.training.loop import _epoch_seed

    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in tiny_model.parameters() if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in tiny_model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=0.01,
    )
    tiny_model.to(memory_format=torch.channels_last)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / 6))
    )
    for epoch in range(2):
        torch.manual_seed(_epoch_seed(0, epoch))
        tiny_model.train()
        for batch in random_loader().epoch(epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(
                tiny_model(batch.images.to(memory_format=torch.channels_last)), batch.targets
            ).backward()
            optimizer.step()
            schedule.step()
    for name, expected in tiny_model.state_dict().items():
        torch.testing.assert_close(job.model.state_dict()[name], expected, rtol=1e-4, atol=1e-6)


def test_history_hooks_and_best_weights(build_job):
    watcher = Recorder()
    job = build_job(hooks=[watcher])
    result = train(job)
    assert watcher.started == (3, 3, 0)
    assert watcher.ended == 1
    assert [(epoch, step) for epoch, step, _, _ in watcher.steps] == [
        (e, s) for e in range(3) for s in range(3)
    ]
    assert [dict(row) for row in result.history] == [values for _, values in watcher.epochs]
    row = result.history[0]
    assert {"epoch", "train_loss", "train_cross_entropy", "accuracy", "val_loss", "lr", "seconds"} <= set(row)
    assert row["images_per_second"] > 0
    values = [row["val_loss"] for row in result.history]
    assert result.best_value == min(values)
    assert result.best_epoch == values.index(min(values))
    assert job.validate(job.model)["val_loss"] == result.best_value
    assert not job.model.training
    assert (result.precision, result.device, result.stopped_early) == ("fp32", "cpu", False)


@pytest.mark.parametrize(
    "section", [AdamW(lr=0.05, weight_decay=0.5), Sgd(kind="sgd", lr=0.05, weight_decay=0.5)]
)
def test_frozen_means_frozen(build_job, section):
    settings = OptimizerSettings(section.kind)
    freeze = FreezeLayers(policy="layers", layers=("stem", "layer2"))
    job = build_job(freeze=freeze, rates_from=section, optimizer=settings)
    before = state(job.model)
    result = train(job)
    after = state(job.model)
    for name in before:
        is_frozen = name.startswith(("stem", "layer2"))
        assert torch.equal(before[name], after[name]) == is_frozen, name
    (proof,) = result.proofs
    assert proof.holds
    assert proof.groups == ("layer2", "stem")
    assert proof.tensors == sum(name.startswith(("stem", "layer2")) for name in before)


def test_a_group_that_is_frozen_again_keeps_its_weights_despite_momentum(build_job, tiny_model):
    phases = FreezePhases(
        policy="phases",
        phases=(Phase(epochs=1, train=("layer2", "head")), Phase(epochs=2, train=("head",))),
    )
    seen = []

    class Watch(Recorder):
        def on_epoch(self, epoch, values):
            seen.append(state(tiny_model))

    sgd = OptimizerSettings("sgd")
    job = build_job(
        tiny_model, freeze=phases, rates_from=Sgd(kind="sgd", lr=0.05), optimizer=sgd, hooks=[Watch()]
    )
    result = train(job)
    first, second, third = seen
    frozen = [name for name in first if name.startswith("layer2")]
    assert all(torch.equal(first[name], third[name]) for name in frozen)
    assert not torch.equal(first["head.weight"], second["head.weight"])
    assert [(p.first_epoch, p.last_epoch, p.groups) for p in result.proofs] == [
        (0, 0, ("layer1", "stem")),
        (1, 2, ("layer1", "layer2", "stem")),
    ]
    assert all(proof.holds for proof in result.proofs)
