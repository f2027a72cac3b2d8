"""`transferflow runs list` on two real runs."""

import io
import json
import math
import shutil
from dataclasses import replace

from rich.console import Console

from transferflow.cli.main import main
from transferflow.cli.runs import runs_table, sort_runs
from transferflow.evaluation.results import MetricValue
from transferflow.stages.context import RunContext
from transferflow.stages.runs import RunRecord, list_runs


def test_runs_are_listed_with_what_changed(two_runs, capsys):
    context, _ = two_runs
    home = ["--home", str(context.home)]
    assert main(["runs", "list", "--json", *home]) == 0
    latest, first = json.loads(capsys.readouterr().out)
    assert (first["name"], first["version"], first["verdict"]) == ("colours", 1, "PROMOTE")
    assert first["changed"] == []
    assert "optimizer.lr: 0.003 → 0.0001" in latest["changed"]
    assert latest["metric"] == "accuracy"
    assert 0 <= latest["metrics"]["accuracy"]["value"] <= 1
    assert latest["seconds"] > 0
    assert main(["runs", "list", *home]) == 0
    assert "PROMOTE" in capsys.readouterr().out
    assert main(["runs", "list", "--name", "another", *home]) == 0
    assert "no such run" in capsys.readouterr().out


def test_a_damaged_run_is_passed_over(two_runs, tmp_path):
    context = RunContext(tmp_path)
    shutil.copytree(two_runs[0].home / "artifacts", tmp_path / "artifacts")
    first, _ = list_runs(context)
    (context.store.folder("register", first.report_key) / "registration.json").write_text("{")
    (context.home / "artifacts" / "register" / "foreign").mkdir()
    assert len(list_runs(context)) == 1


def record(name, value, seconds, lower=False):
    metrics = {} if value is None else {"m": MetricValue(value)}
    return RunRecord(name, name, 1, "2026", "HOLD", (), metrics, "m", lower, seconds, "", "", "")


def test_runs_are_sorted_and_those_without_a_value_come_last():
    runs = [record("b", 0.5, 9.0), record("c", None, None), record("a", 0.9, 3.0), record("d", math.nan, 1.0)]
    assert [run.name for run in sort_runs(runs, "name")] == ["a", "b", "c", "d"]
    assert [run.name for run in sort_runs(runs, "metric")] == ["a", "b", "c", "d"]
    assert [run.name for run in sort_runs(runs, "duration")] == ["b", "a", "d", "c"]
    errors = [record("b", 0.9, 0, lower=True), record("a", 0.5, 0, lower=True)]
    assert [run.name for run in sort_runs(errors, "metric")] == ["a", "b"]


def test_a_home_without_runs_is_no_error(tmp_path, capsys):
    assert main(["runs", "list", "--home", str(tmp_path / "none")]) == 0
    assert "no finished run" in capsys.readouterr().out


def test_in_80_columns_no_date_and_no_name_is_broken():
    metrics = {"accuracy": MetricValue(0.9625, 0.945, 0.978)}
    run = replace(record("quickstart", 0.9, 178.0), decided="2026-11-27 13:36:00+00:00")
    run = replace(run, metrics=metrics, metric="accuracy", changed=("training.epochs: 2 → 3",))
    console = Console(width=80, file=io.StringIO())
    console.print(runs_table([run]))
    assert "│ quickstart " in console.file.getvalue()
    assert "│ 2026-11-27 " in console.file.getvalue()
