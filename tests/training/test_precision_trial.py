"""A trial measures both precisions, and leaves the model as it was."""

import copy

import pytest
import torch
from torch import nn

from transferflow.spec.sections.freeze import FreezeBackbone, FreezeNone, FreezePhases, Phase
from transferflow.training.freezing import busiest_phase
from transferflow.training.precision_trial import Tried, try_precisions

PHASES = FreezePhases(policy="phases", phases=tuple(Phase(epochs=1, train=(name,)) for name in ("head", "*")))


@pytest.fixture
def try_job(build_job):
    """Take a trial of a job on its first batch."""

    def take(losses=None, shape=None, **parts):
        job = build_job(**parts)
        (batch, *_) = job.train_loader.epoch(0)
        tried = Tried(job.model, job.groups, job.freeze, losses or job.losses, shape)
        return job, try_precisions(tried, batch)

    return take


def test_each_precision_is_computed_in(try_job):
    seen = []

    def losses(model, batch):
        answer = model(batch.images)
        seen.append(answer.dtype)
        return {"loss": answer.float().square().mean()}

    _, found = try_job(losses, freeze=FreezeNone(policy="none"))
    assert set(seen) == {torch.float32, torch.bfloat16}
    assert set(found) == {"fp32", "bf16"}
    assert all(spent.prefix == 0 and 0 < spent.step < 10 for spent in found.values())


@pytest.mark.parametrize("freeze", [FreezeNone(policy="none"), FreezeBackbone(policy="backbone"), PHASES])
def test_the_model_is_as_it_was(build_job, freeze):
    job = build_job(freeze=freeze, settings={"epochs": 3})
    job.model.train()
    job.model.head.eval()
    before = copy.deepcopy(job.model)
    random = torch.get_rng_state()
    (batch, *_) = job.train_loader.epoch(0)
    assert try_precisions(Tried(job.model, job.groups, job.freeze, job.losses, None), batch) is not None
    for (name, tensor), (_, former) in zip(
        job.model.state_dict().items(), before.state_dict().items(), strict=True
    ):
        assert torch.equal(tensor, former), name
    assert [m.training for m in job.model.modules()] == [m.training for m in before.modules()]
    assert [p.requires_grad for p in job.model.parameters()] == [p.requires_grad for p in before.parameters()]
    assert all(parameter.grad is None for parameter in job.model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_model_that_can_take_no_step_is_not_tried(try_job):
    def losses(model, batch):
        raise ValueError("Expected more than 1 value per channel when training")

    job, found = try_job(losses)
    assert found is None
    assert isinstance(job.model, nn.Module)


def test_the_phase_in_which_the_most_trains_is_tried(build_job):
    job = build_job(freeze=PHASES)
    assert busiest_phase(job.groups, job.freeze.phases) == 1
