"""A trial measures both precisions, and leaves the model as it was."""

import copy

import pytest
import torch

from transferflow.spec.sections.freeze import FreezeBackbone, FreezeNone, FreezePhases, Phase
from transferflow.training.precision.trial import Tried, try_precisions

PHASES = FreezePhases(policy="phases", phases=tuple(Phase(epochs=1, train=(name,)) for name in ("head", "*")))
ALL = FreezeNone(policy="none")
HEAD = FreezeBackbone(policy="backbone")


@pytest.fixture
def build(build_job):
    """A model that can be tried, and its first batch."""

    def make(losses=None, freeze=ALL, views=None):
        job = build_job(freeze=freeze)
        (batch, *_) = job.train_loader.epoch(0)
        shape = tuple(batch.images.shape[1:])
        return Tried(job.model, job.groups, job.freeze, losses or job.losses, shape, 49, views), batch

    return make


def state_of(model):
    gradients = [parameter.grad for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    return modes, [parameter.requires_grad for parameter in model.parameters()], gradients


def test_each_precision_is_computed_in(build):
    seen = []

    def losses(model, batch):
        answer = model(batch.images)
        seen.append(answer.dtype)
        return {"loss": answer.float().square().mean()}

    tried, batch = build(losses)
    found = try_precisions(tried, batch)
    assert seen == [torch.float32, torch.bfloat16] * 3
    assert (found.pixels, found.views) == (49, 0)
    assert all(spent.prefix == 0 and 0 < spent.step < 10 for spent in (found.fp32, found.bf16))


@pytest.mark.parametrize("freeze", [ALL, HEAD, PHASES])
def test_the_model_is_as_it_was(build, freeze):
    tried, batch = build(freeze=freeze)
    tried.model.train()
    tried.model.head.eval()
    before, random = copy.deepcopy(tried.model), torch.get_rng_state()
    assert try_precisions(tried, batch) is not None
    assert state_of(tried.model) == state_of(before)
    assert torch.equal(torch.get_rng_state(), random)
    former = before.state_dict()
    assert all(torch.equal(tensor, former[name]) for name, tensor in tried.model.state_dict().items())


def test_a_model_that_can_take_no_step_is_not_tried_and_is_as_it_was(build):
    def losses(model, batch):
        model(batch.images).sum().backward()
        raise ValueError("Expected more than 1 value per channel when training")

    tried, batch = build(losses, freeze=HEAD)
    before = copy.deepcopy(tried.model)
    assert try_precisions(tried, batch) is None
    assert state_of(tried.model) == state_of(before)
    former = before.state_dict()
    assert all(torch.equal(tensor, former[name]) for name, tensor in tried.model.state_dict().items())


def test_the_phase_in_which_the_most_trains_is_tried(build):
    trained = []

    def losses(model, batch):
        trained.append([name for name, p in model.named_parameters() if p.requires_grad])
        return {"loss": model(batch.images).float().square().mean()}

    tried, batch = build(losses, freeze=PHASES)
    try_precisions(tried, batch)
    assert all(len(names) == len(list(tried.model.parameters())) for names in trained)
