"""What a checkpoint leaves out, and that nothing is lost by it."""

import json

import pytest
import torch
from safetensors.torch import load_file

from transferflow.errors import InterruptedRunError
from transferflow.spec.sections.freeze import FreezeBackbone, FreezePhases, Phase
from transferflow.training.checkpoints.start import keep_start
from transferflow.training.loop.run import train

HEAD = {"head.weight", "head.bias"}
PHASES = FreezePhases(
    policy="phases",
    phases=(Phase(epochs=1, train=("head",)), Phase(epochs=1, train=("layer2", "head"))),
)


class Stop:
    """A hook that interrupts after an epoch, as ctrl-C does."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_start(self, epochs, steps, first_epoch):
        self.first_epoch = first_epoch

    def on_step(self, epoch, step, loss, lr): ...

    def on_epoch(self, epoch, values):
        if epoch == self.epoch:
            raise KeyboardInterrupt

    def on_end(self): ...


def part(model, *groups):
    return {name for name in model.state_dict() if name.startswith(groups)}


def files(tmp_path):
    return {path.name: set(load_file(path)) for path in (tmp_path / "checkpoints").rglob("*.safetensors")}


@pytest.mark.parametrize("ema", [None, 0.9])
def test_what_was_frozen_from_the_start_is_in_no_file(build_job, tmp_path, ema):
    job = build_job(freeze=FreezeBackbone(policy="backbone"), settings={"epochs": 2, "ema": ema})
    train(job)
    found = files(tmp_path)
    assert {"weights.safetensors", "best-0001.safetensors"} <= found.keys()
    assert all(names == HEAD for names in found.values())


def test_what_a_later_phase_trains_is_written_from_then_on(build_job, tmp_path):
    job = build_job(freeze=PHASES, settings={"epochs": 2})
    train(job)
    folder = tmp_path / "checkpoints"
    assert set(load_file(folder / "epoch-0002" / "weights.safetensors")) == HEAD | part(job.model, "layer2")


def test_the_best_epoch_gets_back_what_was_trained_after_it(build_job):
    """The first epoch is the best; what it left out is what the model began with."""
    worse = iter([0.1, 0.2])
    job = build_job(freeze=PHASES, settings={"epochs": 2}, validate=lambda model: {"val_loss": next(worse)})
    before = {name: tensor.clone() for name, tensor in job.model.state_dict().items()}
    assert train(job).best_epoch == 0
    after = job.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - HEAD)
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_running_statistics_that_move_are_written(build_job, tmp_path):
    freeze = FreezeBackbone(policy="backbone", batch_norm="train")
    job = build_job(freeze=freeze, settings={"epochs": 1})
    train(job)
    statistics = {name for name in job.model.state_dict() if "running" in name or "num_batches" in name}
    assert set(load_file(tmp_path / "checkpoints" / "epoch-0001" / "weights.safetensors")) == (
        HEAD | statistics
    )


def test_an_average_that_rounds_what_is_frozen_is_kept_as_it_is(build_job, tmp_path):
    job = build_job(freeze=FreezeBackbone(policy="backbone"), settings={"epochs": 1, "ema": 0.9})

    def validate(model):
        with torch.no_grad():
            model.state_dict()["stem.0.weight"].add_(1e-3)  # as a kernel that rounds would
        return {"val_loss": 1.0}

    begun = job.model.state_dict()["stem.0.weight"].clone()
    train(type(job)(**{**vars(job), "validate": validate}))
    folder = tmp_path / "checkpoints"
    assert set(load_file(folder / "epoch-0001" / "ema.safetensors")) == HEAD | {"stem.0.weight"}
    assert set(load_file(folder / "epoch-0001" / "weights.safetensors")) == HEAD
    kept = job.model.state_dict()["stem.0.weight"]
    torch.testing.assert_close(kept, begun + 1e-3)


def test_a_model_that_begins_with_other_weights_is_trained_anew(build_job, tmp_path, caplog):
    settings = {"epochs": 2}
    freeze = FreezeBackbone(policy="backbone")
    with pytest.raises(InterruptedRunError):
        train(build_job(freeze=freeze, settings=settings, hooks=[Stop(0)]))
    job, watcher = build_job(freeze=freeze, settings=settings), Stop(9)
    with torch.no_grad():
        job.model.stem[0].weight.mul_(2)
    train(type(job)(**{**vars(job), "hooks": [watcher]}))
    assert watcher.first_epoch == 0
    assert "does not begin with the weights" in caplog.text


def test_a_checkpoint_names_what_it_left_out(build_job, tmp_path):
    job = build_job(freeze=FreezeBackbone(policy="backbone"), settings={"epochs": 1})
    train(job)
    state = json.loads((tmp_path / "checkpoints" / "epoch-0001" / "state.json").read_text())
    assert state["start"].keys() == part(job.model, "stem", "layer")


def test_only_what_trains_later_is_copied(tiny_model, build_job):
    job = build_job(tiny_model, freeze=PHASES, settings={"epochs": 2})
    start = keep_start(tiny_model, tiny_model.groups, job.freeze)
    own = {tensor.data_ptr() for tensor in tiny_model.state_dict().values()}
    copied = {name for name, tensor in start.tensors.items() if tensor.data_ptr() not in own}
    assert copied == part(tiny_model, "layer2")
