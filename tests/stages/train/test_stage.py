"""What the train stage says of the epoch it kept, and of steps and batches that did not go as planned."""

import json
import logging

import pytest
import torch
from torch.nn import functional

from transferflow.cli.plan_summary import plan_facts
from transferflow.stages.context import RunContext
from transferflow.stages.plan.compile import compile_plan
from transferflow.stages.run import run_plan
from transferflow.stages.train import fit
from transferflow.stages.train.stage import describe_kept

HISTORY = {"metric": "auroc", "best_epoch": 2, "best_value": 0.91239, "epochs": [{}] * 4}
BEST = "epoch 3 of 4, the best by validation auroc 0.9124"
GATE = {"gate": {"metric": "auroc"}}
PATIENCE = {"epochs": 9, "early_stopping": {"patience": 1}}


@pytest.mark.parametrize(
    ("sections", "stopped", "expected"),
    [
        ({}, False, BEST),
        ({"registration": GATE}, False, f"{BEST}, the gate's metric"),
        (
            {"training": PATIENCE},
            True,
            f"{BEST}; stopped early, after 1 epoch that did no better (9 epochs were allowed)",
        ),
        ({"training": PATIENCE}, False, BEST),
    ],
)
def test_the_kept_epoch_is_said(build_spec, sections, stopped, expected):
    assert describe_kept(build_spec(**sections), HISTORY | {"stopped_early": stopped}) == expected


def test_zero_shot_keeps_no_epoch(build_spec):
    spec = build_spec(
        backbone={"source": "timm", "name": "vit_base_patch32_clip_quickgelu_224.openai"},
        head={"kind": "zero_shot"},
        optimizer={},
        training={"epochs": 0},
    )
    assert describe_kept(spec, HISTORY).startswith("the weights as they came")


def test_parts_and_steps_left_out_are_said_by_run_report_and_plan(build_spec, tmp_path, monkeypatch, caplog):
    real, calls = functional.cross_entropy, []

    def little_memory(logits, *rest, **options):
        if not torch.is_grad_enabled():
            return real(logits, *rest, **options)
        calls.append(len(logits))
        if len(logits) > 7:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        return real(logits, *rest, **options) * (torch.nan if len(calls) == 4 else 1)

    monkeypatch.setattr(functional, "cross_entropy", little_memory)
    monkeypatch.setattr(fit, "look_before_first_epoch", lambda *given: None)  # the calls are counted
    context = RunContext(tmp_path / "home")
    spec = build_spec(
        training={
            "epochs": 2,
            "batch_size": 12,
            "workers": 0,
            "device": "cpu",
            "precision": "fp32",  # in bf16 torch would ask what is put in its place twice
            "on_nan": "skip",
        }
    )
    with caplog.at_level(logging.INFO):
        trained = run_plan(spec, context)[1]
    assert calls[:6] == [12, 6, 6, 6, 6, 6]
    assert "epoch 1, step 2 is left out" in caplog.text
    assert "train: 1 step left out" in caplog.text
    history = json.loads((trained.folder / "history.json").read_text())
    assert history["micro_batch"] == 6
    assert history["epochs"][0]["skipped_steps"] == 1
    assert all(row["val_loss"] > 0 for row in history["epochs"])
    report = (context.home / "reports" / "colours.html").read_text()
    assert "12 images, of which 6 at a time for lack of memory" in report
    assert "1, whose loss or gradient was not finite" in report
    again = compile_plan(build_spec(optimizer={"lr": 1e-3}), context)
    facts = dict(plan_facts(again))
    assert facts["memory"] == "the last run computed 6 images of a batch at a time, for lack of it"
    assert again.to_json()["micro_batch"] == 6
