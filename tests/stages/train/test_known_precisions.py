"""`precision: auto` on a CPU: tried once, remembered in the home, and told by the plan."""

import json
import logging
from dataclasses import replace

import pytest
import torch
import yaml

from transferflow.cli.main import main
from transferflow.errors import InterruptedRunError
from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare
from transferflow.stages.train import known_precisions, settle
from transferflow.stages.train.known_precisions import keep_trial, known_choice, load_trial
from transferflow.stages.train.settle import known_settings
from transferflow.stages.train.stage import train
from transferflow.training.device import computes_bf16_fast
from transferflow.training.precision import decide
from transferflow.training.precision.decide import Spent, Trial

AUTO = {"epochs": 2, "batch_size": 12, "workers": 0, "device": "cpu", "precision": "auto"}
FAST = Trial(64 * 64, 1, fp32=Spent(0.2, 0.1), bf16=Spent(0.1, 0.05))
SLOW = Trial(64 * 64, 1, fp32=Spent(0.1, 0.1), bf16=Spent(0.1, 0.2))
COUNTS = {"train": 24, "val": 6, "test": 6}
CPU = torch.device("cpu")


@pytest.fixture
def both(monkeypatch):
    """A CPU that computes both precisions."""
    monkeypatch.setattr(settle, "computes_bf16", lambda device: True)


@pytest.fixture
def long(monkeypatch, both):
    """Every training is long enough for a trial."""
    monkeypatch.setattr(decide, "_LEAST_IMAGES", 1)
    monkeypatch.setattr(decide, "_LEAST_PIXELS", 1)


def trained_in(spec, context):
    trained = train(spec, context, prepare(spec, context))
    return json.loads((trained.folder / "history.json").read_text())["precision"]


@pytest.mark.parametrize("policy", ["backbone", "none"])
def test_a_long_training_tries_both_and_the_next_knows(build_squares_spec, tmp_path, caplog, long, policy):
    context = RunContext(tmp_path / "home")
    for seed in (0, 1):
        spec = build_squares_spec(training=AUTO | {"seed": seed}, freeze={"policy": policy})
        with caplog.at_level(logging.INFO):
            precision = trained_in(spec, context)
        assert ("trying out which precision" in caplog.text) is (seed == 0)
        caplog.clear()
        found = load_trial(spec, context)
        assert (found.pixels, found.views) == (64 * 64, 1)
        assert (found.fp32.prefix > 0, found.bf16.prefix > 0) == (policy == "backbone",) * 2
        assert precision == known_choice(spec, context, 24, 6).precision


@pytest.mark.parametrize(("trial", "expected"), [(FAST, "bf16"), (SLOW, "fp32")])
def test_a_training_heeds_the_trial(build_squares_spec, tmp_path, long, monkeypatch, trial, expected):
    monkeypatch.setattr(settle, "try_precisions", lambda tried, batch: trial)
    context, spec = RunContext(tmp_path / "home"), build_squares_spec(training=AUTO)
    assert trained_in(spec, context) == expected
    assert known_settings(spec, context, COUNTS).precision == expected


def test_a_short_training_follows_the_rule_whatever_is_known(build_squares_spec, tmp_path, both, monkeypatch):
    monkeypatch.setattr(settle, "try_precisions", lambda tried, batch: pytest.fail("a trial"))
    context, spec = RunContext(tmp_path / "home"), build_squares_spec(training=AUTO)
    rule = "bf16" if computes_bf16_fast(CPU) else "fp32"
    keep_trial(spec, context, SLOW if rule == "bf16" else FAST)
    assert trained_in(spec, context) == rule
    assert known_settings(spec, context, COUNTS).precision == "auto"


def test_what_the_spec_asks_for_is_not_tried(build_squares_spec, tmp_path, long, monkeypatch):
    monkeypatch.setattr(settle, "try_precisions", lambda tried, batch: pytest.fail("a trial"))
    context = RunContext(tmp_path / "home")
    spec = build_squares_spec(training=AUTO | {"precision": "fp32"})
    keep_trial(spec, context, FAST)
    assert trained_in(spec, context) == "fp32"
    assert known_choice(spec, context, 24, 6) is None


def test_a_record_is_of_the_cpu_and_says_nothing_on_a_gpu(build_squares_spec, tmp_path, long, monkeypatch):
    context, spec = RunContext(tmp_path / "home"), build_squares_spec(training=AUTO)
    keep_trial(spec, context, FAST)
    assert known_settings(spec, context, COUNTS).precision == "bf16"
    monkeypatch.setattr(settle, "pick_device", lambda setting: torch.device("cuda"))
    assert known_settings(spec, context, COUNTS).precision == "auto"


@pytest.mark.parametrize(("begun", "later"), [(FAST, SLOW), (SLOW, FAST)])
def test_a_resume_goes_on_in_what_it_has_begun_in(
    build_squares_spec, tmp_path, long, stopped_at_validation, begun, later
):
    context, spec = RunContext(tmp_path / "home"), build_squares_spec(training=AUTO)
    keep_trial(spec, context, begun)
    with stopped_at_validation(2), pytest.raises(InterruptedRunError):
        train(spec, context, prepare(spec, context))
    keep_trial(spec, context, later)
    assert trained_in(spec, context) == ("bf16" if begun is FAST else "fp32")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pixels": 1}', "9" * 100_000])
def test_a_damaged_record_says_nothing(build_squares_spec, tmp_path, long, content):
    context, spec = RunContext(tmp_path / "home"), build_squares_spec(training=AUTO)
    keep_trial(spec, context, FAST)
    (entry,) = context.precisions.glob("*")
    entry.write_text(content)
    assert known_choice(spec, context, 24, 6) is None
    keep_trial(spec, context, SLOW)
    assert known_choice(spec, context, 24, 6).precision == "fp32"


def test_another_model_or_machine_is_tried_anew(build_squares_spec, tmp_path, long, monkeypatch):
    context = RunContext(tmp_path / "home")
    keep_trial(build_squares_spec(training=AUTO), context, FAST)

    def knows(**sections):
        spec = build_squares_spec(**{"training": AUTO} | sections)
        return known_choice(spec, context, 24, 6) is not None

    assert knows(optimizer={"lr": 0.5})
    assert knows(training=AUTO | {"seed": 5, "epochs": 7})
    assert not knows(freeze={"policy": "none"})
    assert not knows(head={"hidden": [8]})
    monkeypatch.setattr(known_precisions, "describe_cpu", lambda: "another CPU")
    assert not knows()


def test_ranks_do_what_the_first_one_says(build_squares_spec, tmp_path, both, monkeypatch):
    spec, context = build_squares_spec(training=AUTO), RunContext(tmp_path / "home")
    ranks = replace(settle.ALONE, rank=1)
    monkeypatch.setattr(type(ranks), "share", lambda self, value: "bf16")
    settings = settle.settle_settings(
        spec, None, lambda: pytest.fail("another rank tries"), context=context, folder=tmp_path, ranks=ranks
    )
    assert settings.precision == "bf16"


def test_the_plan_tells_it(build_squares_spec, tmp_path, long, capsys):
    home, spec, path = tmp_path / "home", build_squares_spec(training=AUTO), tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_unset=True)))
    prepare(spec, RunContext(home))
    assert main(["plan", str(path), "--home", str(home)]) == 0
    assert "by a trial" not in capsys.readouterr().out
    keep_trial(spec, RunContext(home), FAST)
    assert main(["plan", str(path), "--home", str(home)]) == 0
    assert "on this CPU bf16: bf16 takes 0.50 times as long as fp32, by a trial" in capsys.readouterr().out
    assert main(["plan", str(path), "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == {"precision": "bf16", "share": 0.5}
