import copy
import functools
import math

import pytest
import torch
from torch import nn

from transferflow.errors import InterruptedRunError, PlanError, TrainingError
from transferflow.spec.sections.freeze import FreezeLayers, FreezeNone, FreezePhases, Phase
from transferflow.spec.sections.optimizer import AdamW, Sgd
from transferflow.training.job import OptimizerSettings
from transferflow.training.loop.run import train
from transferflow.training.loop.steps import step_seed


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


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", [AdamW, Sgd])
def test_equals_a_plain_torch_loop(build_job, tiny_model, random_loader, kind):
    """The whole loop against ten lines of torch without fused kernels: the same weights."""
    name = kind.__name__.lower()
    section = kind(kind=name, lr=0.01, weight_decay=0.1)
    job = build_job(rates_from=section, optimizer=OptimizerSettings(name), settings={"epochs": 2})
    train(job)
    plain = {
        AdamW: functools.partial(torch.optim.AdamW, fused=False),
        Sgd: functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=False),
    }
    optimizer = plain[kind](
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
        tiny_model.train()
        for step, batch in enumerate(random_loader().epoch(epoch)):
            torch.manual_seed(step_seed(0, epoch, step))
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
    assert job.validate(job.model)["val_loss"] == pytest.approx(result.best_value, rel=1e-5)
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


def test_a_loss_that_is_not_finite_says_where(build_job, random_loader):
    job = build_job(train_loader=random_loader(poison=(1, 2)))
    with pytest.raises(TrainingError, match="the loss `cross_entropy` is not finite") as caught:
        train(job)
    text = str(caught.value)
    assert "epoch 2, step 3" in text
    assert "found: nan" in text
    assert "optimizer.lr" in text
    resumed = Recorder()
    train(build_job(hooks=[resumed]))  # the epoch before it is kept
    assert resumed.started == (3, 3, 1)


def test_batch_norm_on_one_value_says_which_settings_help(build_job):
    def losses(model, batch):
        logits = model(batch.images[:1, :, :1, :1])
        return {"loss": nn.functional.cross_entropy(logits, batch.targets[:1])}

    with pytest.raises(TrainingError, match="one value per channel") as caught:
        train(build_job(losses=losses))
    (problem,) = caught.value.problems
    assert problem.where == "training.batch_size"
    assert problem.found == "got input size torch.Size([1, 4, 1, 1])"
    assert "freeze.batch_norm: all_frozen" in problem.hint
    train(build_job(losses=losses, freeze=FreezeNone(policy="none", batch_norm="all_frozen")))


def test_another_error_of_the_losses_stays_as_it_is(build_job):
    def losses(model, batch):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        train(build_job(losses=losses))


def test_the_bad_loss_among_several_is_named(build_job):
    def losses(model, batch):
        logits = model(batch.images)
        return {"box": logits.square().mean(), "mask": logits.sum() * torch.inf}

    with pytest.raises(TrainingError, match="`mask`"):
        train(build_job(losses=losses))


def test_several_losses_are_logged_and_summed(build_job):
    def losses(model, batch):
        logits = model(batch.images)
        return {"entropy": nn.functional.cross_entropy(logits, batch.targets), "size": logits.square().mean()}

    row = train(build_job(losses=losses)).history[-1]
    assert row["train_loss"] == pytest.approx(row["train_entropy"] + row["train_size"])


def scripted(values):
    """A validation that gives one value after the other."""
    left = list(values)
    return lambda model: {"score": left.pop(0)}


def test_early_stopping_keeps_the_best(build_job):
    settings = {"epochs": 9, "metric": "score", "lower_is_better": False, "patience": 2}
    job = build_job(settings=settings, validate=scripted([0.1, 0.5, 0.4, 0.5, 0.9]))
    result = train(job)
    assert (result.best_epoch, result.best_value, result.stopped_early) == (1, 0.5, True)
    assert len(result.history) == 4
    assert [proof.last_epoch for proof in result.proofs] == [3]
    resumed = train(build_job(settings=settings, validate=scripted([])))
    assert resumed == result  # a stopped training stays stopped


def test_patience_ends_a_phase_before_it_ends_the_training(build_job, tiny_model, caplog):
    """What is frozen, the rates, the proofs and a resume in the second phase follow."""
    freeze = FreezePhases(
        policy="phases",
        phases=(Phase(epochs=4, train=("head",)), Phase(epochs=4, train=("*",), lr_scale=0.5)),
    )
    settings = {"epochs": 9, "metric": "score", "lower_is_better": False, "patience": 1}
    optimizer = OptimizerSettings("adamw", schedule="constant")
    before, as_built = state(tiny_model), copy.deepcopy(tiny_model)
    moved, rates = [], []

    class Watch(Recorder):
        def on_epoch(self, epoch, values):
            moved.append(not torch.equal(before["stem.0.weight"], tiny_model.state_dict()["stem.0.weight"]))
            rates.append(values["lr"])
            if epoch == 2:
                raise KeyboardInterrupt

    def job(model, values, hooks=()):
        return build_job(
            model,
            freeze=freeze,
            optimizer=optimizer,
            settings=settings,
            validate=scripted(values),
            hooks=hooks,
        )

    with pytest.raises(InterruptedRunError), caplog.at_level("INFO"):
        train(job(tiny_model, [0.9, 0.8, 0.5], [Watch()]))
    assert moved == [False, False, True]
    assert rates == pytest.approx([0.01, 0.01, 0.005])
    early = "phase 2 of 2 begins with epoch 3, 2 before its time: the one before it no longer got better"
    assert early in caplog.text
    result = train(job(as_built, [0.6, 0.5]))
    assert [phase.first_epoch for phase in result.phases] == [0, 2]
    assert [(proof.first_epoch, proof.last_epoch) for proof in result.proofs] == [(0, 1), (2, 4)]
    assert result.proofs[0].groups == ("layer1", "layer2", "stem")
    assert (result.best_epoch, result.stopped_early, len(result.history)) == (0, True, 5)


def test_lower_is_better(build_job):
    settings = {"metric": "score", "lower_is_better": True}
    result = train(build_job(settings=settings, validate=scripted([0.3, 0.1, 0.2])))
    assert (result.best_epoch, result.best_value) == (1, 0.1)
    assert not result.stopped_early


@pytest.mark.parametrize(
    ("values", "message"), [({"other": 1.0}, "only other"), ({"score": math.nan}, "not a number")]
)
def test_a_metric_that_can_not_be_computed(build_job, values, message):
    settings, needs = {"metric": "score"}, "at least one box"
    job = build_job(settings=settings, validate=lambda model: values, metric_needs=needs)
    with pytest.raises(
        TrainingError, match="epoch 1: the validation metric score can't be computed"
    ) as caught:
        train(job)
    assert message in str(caught.value)
    assert "the validation split has at least one box" in str(caught.value)


def test_the_moving_average_is_validated_and_kept(build_job, tiny_model):
    """Against the average computed by hand from the weights after each step."""
    weights, seen = [], []

    class Watch(Recorder):
        def on_step(self, epoch, step, loss, lr):
            weights.append(state(tiny_model))

    def validate(model):
        seen.append(state(model))
        return {"score": float(len(seen))}

    settings = {"epochs": 2, "metric": "score", "lower_is_better": False, "ema": 0.5}
    freeze = FreezeLayers(policy="layers", layers=("stem",))
    start = state(tiny_model)
    train(build_job(tiny_model, freeze=freeze, settings=settings, validate=validate, hooks=[Watch()]))
    expected = weights[0]["head.weight"]
    for number, now in enumerate(weights[1:], 1):
        decay = min(0.5, 1 - (1 + number) ** -0.75)
        expected = decay * expected + (1 - decay) * now["head.weight"]
    torch.testing.assert_close(seen[-1]["head.weight"], expected)
    assert same(state(tiny_model), seen[-1])
    for name in start:
        if name.startswith("stem"):  # an average of what never changes is that, to the bit
            assert torch.equal(start[name], tiny_model.state_dict()[name])


def test_gradients_are_clipped(build_job, tiny_model):
    """With plain gradient descent the step is at most lr times the largest norm."""
    start = state(tiny_model)
    steps = OptimizerSettings("sgd", momentum=0.0, nesterov=False, schedule="constant")
    clipped = build_job(
        tiny_model,
        rates_from=Sgd(kind="sgd", lr=1.0, weight_decay=0.0),
        optimizer=steps,
        settings={"epochs": 1, "gradient_clip": 1e-3},
        train_loader=type(build_job().train_loader)(images=8),
    )
    train(clipped)
    moved = torch.cat([(p - start[n]).flatten() for n, p in tiny_model.named_parameters()])
    assert float(moved.detach().norm()) == pytest.approx(1e-3, rel=1e-2)


def test_the_callers_random_state_is_left_alone(build_job):
    job = build_job()
    before = torch.random.get_rng_state()
    train(job)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_same_seed_gives_the_same_bits(build_job, tmp_path):
    runs = {}
    for name, seed in (("first", 0), ("second", 0), ("other", 1)):
        torch.manual_seed(len(runs))  # must not matter
        job = build_job(settings={"seed": seed}, folder=tmp_path / name)
        train(job)
        runs[name] = state(job.model)
    assert same(runs["first"], runs["second"])
    assert not same(runs["first"], runs["other"])  # dropout differs


def test_bf16_trains_and_stays_fp32_in_the_weights(build_job):
    job = build_job(settings={"precision": "bf16", "epochs": 5})
    result = train(job)
    assert result.precision == "bf16"
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    assert {p.dtype for p in job.model.parameters()} == {torch.float32}


def test_without_batches_there_is_no_training(build_job, random_loader):
    with pytest.raises(TrainingError, match="no training batch"):
        train(build_job(train_loader=random_loader(images=0)))


def test_hooks_end_whatever_happens(build_job, random_loader):
    watcher = Recorder()
    with pytest.raises(TrainingError):
        train(build_job(train_loader=random_loader(poison=(0, 0)), hooks=[watcher]))
    assert watcher.ended == 1


def test_precision_that_the_device_has_not(build_job):
    with pytest.raises(PlanError, match="fp16 needs CUDA"):
        train(build_job(settings={"precision": "fp16"}))
