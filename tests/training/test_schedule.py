"""Rates over time, read back from the optimizer of a real run."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from transferflow.spec.sections.freeze import FreezePhases, Phase
from transferflow.spec.sections.optimizer import AdamW
from transferflow.training.freezing import compile_freeze
from transferflow.training.job import OptimizerSettings
from transferflow.training.loop.run import train
from transferflow.training.loop.stepper import Stepper
from transferflow.training.rate_plan import rate_table
from transferflow.training.rates import decide_rates
from transferflow.training.schedule import schedule_scale


def test_cosine_with_warmup_equals_torch():
    """Against torch's own schedulers, in series."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    warmup = LinearLR(optimizer, start_factor=0.1, total_iters=9)
    cosine = CosineAnnealingLR(optimizer, T_max=30, eta_min=0.05)
    theirs = SequentialLR(optimizer, [warmup, cosine], milestones=[10])
    settings = OptimizerSettings("adamw", warmup_epochs=1.0, min_lr_scale=0.05)
    for step in range(40):
        expected = optimizer.param_groups[0]["lr"]
        assert schedule_scale(settings, step, 10, 4) == pytest.approx(expected, rel=1e-6), step
        optimizer.step()
        theirs.step()


def test_edges():
    constant = OptimizerSettings("adamw", schedule="constant", warmup_epochs=0.5)
    assert [schedule_scale(constant, step, 4, 2) for step in range(8)] == [0.5] + [1.0] * 7
    only_warmup = OptimizerSettings("adamw", warmup_epochs=10)
    assert schedule_scale(only_warmup, 7, 4, 2) == 1.0
    one_step = OptimizerSettings("adamw")
    assert schedule_scale(one_step, 0, 1, 1) == 1.0


def test_the_table_is_what_the_optimizer_holds_at_each_step(build_job, monkeypatch):
    """Phases, their scales, warm-up, cosine and layer decay together, over a whole run."""
    freeze = FreezePhases(
        policy="phases",
        phases=(
            Phase(epochs=1, train=("head",)),
            Phase(epochs=2, train=("layer2", "head"), lr_scale=0.3),
            Phase(epochs=1, train=("*",), lr_scale=0.1),
        ),
    )
    section = AdamW(lr=0.01, layer_decay=0.5)
    settings = OptimizerSettings("adamw", warmup_epochs=0.5, min_lr_scale=0.1)
    job = build_job(freeze=freeze, rates_from=section, optimizer=settings, settings={"epochs": 5})
    held = {}
    plain_move = Stepper.move

    def watched(self, computed):
        plain_move(self, computed)
        # After the step: what it used, and which groups had a gradient.
        held[len(held)] = [
            (g["name"], g["lr"], [p.grad is None for p in g["params"]]) for g in self.optimizer.param_groups
        ]

    monkeypatch.setattr(Stepper, "move", watched)
    train(job)
    table = rate_table(job.rates, job.freeze, job.optimizer, 5, 3)
    assert len(table) == len(job.rates) * 5
    rows = {(row.block, row.epoch): row for row in table}
    for step, groups in held.items():
        epoch, inside = divmod(step, 3)
        for name, lr, without_gradient in groups:
            row = rows[name.removesuffix(" (no decay)"), epoch]
            assert set(without_gradient) == {row.frozen}
            if not row.frozen and inside in (0, 2):
                assert lr == (row.lr_start if inside == 0 else row.lr_end)
    assert len(held) == 15


def test_rows_say_what_is_frozen(tiny_model):
    freeze = FreezePhases(
        policy="phases",
        phases=(Phase(epochs=1, train=("head",)), Phase(epochs=1, train=("*",), lr_scale=0.5)),
    )
    rates = decide_rates(tiny_model, tiny_model.groups, AdamW(lr=1.0), backbone_scale=0.1)
    schedule = compile_freeze(freeze, tiny_model.groups, 2)
    table = rate_table(rates, schedule, OptimizerSettings("adamw", schedule="constant"), 2, 7)
    found = {
        (row.group, row.epoch): (row.frozen, row.lr_start, row.lr_end, row.weight_decay) for row in table
    }
    assert found["stem", 0] == (True, 0.0, 0.0, 0.0)
    assert found["stem", 1] == (False, pytest.approx(0.05), pytest.approx(0.05), 0.05)
    assert found["head", 0] == (False, 1.0, 1.0, 0.05)
