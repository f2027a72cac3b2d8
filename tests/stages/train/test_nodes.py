"""What a node compares with the one that owns the run, before it takes part."""

from dataclasses import replace

import pytest
import torch

from transferflow.data.snapshot.build import load_snapshot
from transferflow.errors import PlanError
from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare
from transferflow.stages.train import nodes
from transferflow.stages.train.assembly import FitInputs
from transferflow.stages.train.key import complete_train_inputs
from transferflow.training.loop import build


class Told:
    """What the owner announces, told to a node at once."""

    count = 2

    def announce(self, terms):
        self.terms = terms

    def wait_for_terms(self):
        return self.terms


@pytest.fixture
def run(build_spec, tmp_path, monkeypatch):
    """An owner with its spec, and what a node comes to that was told something, perhaps something else."""
    training = {"device": "cpu", "batch_size": 4, "workers": 0}
    spec, context, told = build_spec(training=training), RunContext(tmp_path / "home"), Told()
    monkeypatch.setattr(nodes, "launch_as_owner", lambda plan, job, owner: None)
    monkeypatch.setattr(nodes, "launch_as_joiner", lambda plan, job, joiner: None)
    monkeypatch.setattr(nodes, "_SHARED_SECONDS", 0.0)
    prepared = prepare(spec, context)
    snapshot = load_snapshot(prepared.folder)
    made_from = complete_train_inputs(spec, context, snapshot)

    def own(**other):
        work = context.store.work_folder("train", made_from.key)
        given = FitInputs(build_spec(training=training | other), context, snapshot, None, work, work)
        nodes.fit_as_owner(given, told, prepared.key, made_from)

    def join(context=context, count=2, training=training, **sections):
        return nodes.join(build_spec(training=training, **sections), context, told, count)

    own()
    return own, join


def test_the_same_command_takes_part(run):
    _, join = run
    assert join()
    assert join(training={"device": "cpu", "batch_size": 4, "workers": 0, "devices": 2})  # of this node


def test_another_spec_is_refused_with_what_differs(run):
    _, join = run
    with pytest.raises(PlanError, match=r"another spec[^§]*optimizer.lr: 0.003 → 0.5") as caught:
        join(optimizer={"lr": 0.5})
    assert caught.value.exit_code == 2


def test_other_settings_that_are_in_no_key_are_refused_too(run):
    _, join = run
    with pytest.raises(PlanError, match="--nnodes: 2 → 3"):
        join(count=3)
    with pytest.raises(PlanError, match=r"training\.on_nan: stop → skip"):
        join(training={"device": "cpu", "batch_size": 4, "on_nan": "skip"})


def test_a_node_that_computes_in_another_arithmetic_is_refused(run, monkeypatch):
    """`precision: auto` is what a CPU has; gradients of two kinds would be added up without a word."""
    _, join = run
    is_fast = build.computes_bf16_fast(torch.device("cpu"))
    monkeypatch.setattr(build, "computes_bf16_fast", lambda device: not is_fast)
    with pytest.raises(PlanError, match="another machine or version") as caught:
        join()
    assert "precision: " in str(caught.value)


def test_other_data_are_refused(run, colour_folder):
    _, join = run
    next(path for path in colour_folder.rglob("*.png")).unlink()
    with pytest.raises(PlanError, match="another data"):
        join()


def test_a_home_that_is_not_shared_is_refused(run, tmp_path):
    _, join = run
    with pytest.raises(PlanError, match="the nodes do not share their home"):
        join(context=replace(RunContext(tmp_path / "home"), home=tmp_path / "another"))
    assert not (tmp_path / "another").exists()


def test_a_batch_must_hold_an_image_for_each_device_of_all_nodes(run):
    own, _ = run
    with pytest.raises(PlanError, match="2 nodes with 3 devices each"):
        own(devices=3)
