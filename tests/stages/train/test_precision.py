"""`precision: auto` on a CPU: tried once, remembered in the home, and told by the plan."""

import json
import logging

import pytest
import yaml

from transferflow.cli.main import main
from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare
from transferflow.stages.train import precision, settle
from transferflow.stages.train.precision import known_precision, known_settings, try_precision
from transferflow.stages.train.stage import train
from transferflow.training.precision import LEAST_PIXELS, Spent

AUTO = {"epochs": 2, "batch_size": 12, "workers": 0, "device": "cpu", "precision": "auto"}
FAST = {"fp32": Spent(0.2, 0.1), "bf16": Spent(0.1, 0.05)}
SLOW = {"fp32": Spent(0.1, 0.1), "bf16": Spent(0.1, 0.2)}


@pytest.fixture
def long(monkeypatch):
    """Every training is long enough for a trial, on a CPU that computes bf16."""
    monkeypatch.setattr(settle, "is_worth_a_trial", lambda images, epochs, pixels: True)
    monkeypatch.setattr(settle, "computes_bf16", lambda device: True)


def entries(context):
    return sorted(context.precisions.glob("*"))


def precision_of(trained):
    return json.loads((trained.folder / "history.json").read_text())["precision"]


@pytest.mark.parametrize("freeze", [{"policy": "backbone"}, {"policy": "none"}])
def test_a_long_training_tries_both_and_the_next_one_knows(
    build_squares_spec, tmp_path, caplog, long, freeze
):
    context = RunContext(tmp_path / "home")
    for number, seed in enumerate((0, 1)):
        spec = build_squares_spec(training=AUTO | {"seed": seed}, freeze=freeze)
        with caplog.at_level(logging.INFO):
            trained = train(spec, context, prepare(spec, context))
        assert ("trying out which precision" in caplog.text) is (number == 0)
        caplog.clear()
        (entry,) = entries(context)
        found = json.loads(entry.read_text())
        assert all(found[name]["step"] > 0 for name in ("fp32", "bf16"))
        assert (found["fp32"]["prefix"] > 0) is (freeze["policy"] == "backbone")
        assert precision_of(trained) == known_precision(spec, context, 24, 6).precision


@pytest.mark.parametrize(("trial", "expected"), [(FAST, "bf16"), (SLOW, "fp32")])
def test_a_training_computes_in_what_the_trial_says(
    build_squares_spec, tmp_path, long, monkeypatch, trial, expected
):
    monkeypatch.setattr(settle, "try_precisions", lambda tried, batch: trial)
    context, spec = RunContext(tmp_path / "home"), build_squares_spec(training=AUTO)
    assert precision_of(train(spec, context, prepare(spec, context))) == expected
    assert known_settings(spec, context, 24, 6).precision == expected


def test_a_short_training_follows_the_rule(build_squares_spec, tmp_path, monkeypatch):
    assert LEAST_PIXELS > 1e6
    monkeypatch.setattr(settle, "try_precisions", lambda tried, batch: pytest.fail("a trial"))
    context, spec = RunContext(tmp_path / "home"), build_squares_spec(training=AUTO)
    train(spec, context, prepare(spec, context))
    assert entries(context) == []


def test_what_the_spec_asks_for_is_not_tried(build_squares_spec, tmp_path, long, monkeypatch):
    monkeypatch.setattr(settle, "try_precisions", lambda tried, batch: pytest.fail("a trial"))
    context = RunContext(tmp_path / "home")
    spec = build_squares_spec(training=AUTO | {"precision": "fp32"})
    assert precision_of(train(spec, context, prepare(spec, context))) == "fp32"
    other = build_squares_spec(training=AUTO)
    assert try_precision(other, context, 24, 6, lambda: FAST) is not None
    assert known_precision(spec, context, 24, 6) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"fp32": {"prefix": 1, "step": 1}}', "9" * 100_000])
def test_a_damaged_record_is_tried_again(build_squares_spec, tmp_path, content):
    context, spec = RunContext(tmp_path / "home"), build_squares_spec(training=AUTO)
    try_precision(spec, context, 24, 6, lambda: FAST)
    (entry,) = entries(context)
    entry.write_text(content)
    assert known_precision(spec, context, 24, 6) is None
    assert try_precision(spec, context, 24, 6, lambda: SLOW).precision == "fp32"


def test_another_model_or_machine_is_tried_anew_another_rate_not(build_squares_spec, tmp_path, monkeypatch):
    context = RunContext(tmp_path / "home")
    try_precision(build_squares_spec(training=AUTO), context, 24, 6, lambda: FAST)

    def knows(**sections):
        spec = build_squares_spec(**{"training": AUTO} | sections)
        return known_precision(spec, context, 24, 6) is not None

    assert knows(optimizer={"lr": 0.5})
    assert knows(training=AUTO | {"seed": 5, "epochs": 7})
    assert not knows(freeze={"policy": "none"})
    assert not knows(head={"hidden": [8]})
    monkeypatch.setattr(precision, "describe_cpu", lambda: "another CPU")
    assert not knows()


def test_the_plan_tells_it(build_squares_spec, tmp_path, capsys):
    home = tmp_path / "home"
    spec = build_squares_spec(training=AUTO)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_unset=True)))
    prepare(spec, RunContext(home))
    assert main(["plan", str(path), "--home", str(home)]) == 0
    assert "in a trial" not in capsys.readouterr().out
    try_precision(spec, RunContext(home), 24, 6, lambda: FAST)
    assert main(["plan", str(path), "--home", str(home)]) == 0
    assert "bf16: 0.50 of the time of fp32 in a trial on this machine" in capsys.readouterr().out
    assert main(["plan", str(path), "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == {"precision": "bf16", "share": 0.5}
