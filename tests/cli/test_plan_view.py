from __future__ import annotations

import itertools
import re
import shutil

import pytest
from rich.console import Console

from transferflow.cli.plan_summary import when_it_trains
from transferflow.cli.plan_view import plan_view
from transferflow.errors import PlanError
from transferflow.report.contents import LayerRow
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.stage import evaluate
from transferflow.stages.plan.compile import compile_plan
from transferflow.stages.prepare import prepare
from transferflow.stages.train.stage import train


def shown(spec, tmp_path):
    console = Console(width=200)
    with console.capture() as capture:
        console.print(plan_view(compile_plan(spec, RunContext(tmp_path / "home"))))
    return capture.get()


@pytest.mark.parametrize(("classes", "positive"), [(None, "red"), (("red", "green"), "green")])
def test_of_two_classes_the_positive_one_is_named(build_spec, colour_folder, tmp_path, classes, positive):
    shutil.rmtree(colour_folder / "blue")
    spec = build_spec()
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"classes": classes})})
    assert f"2 classes, {positive} is the positive one" in shown(spec, tmp_path)


def test_of_three_classes_none_is_positive(build_spec, tmp_path):
    view = shown(build_spec(), tmp_path)
    assert "3 classes" in view
    assert "positive" not in view


def lines_of(spec, tmp_path, width=80, defaults=False):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(plan_view(compile_plan(spec, RunContext(tmp_path / "home")), defaults))
    return capture.get().splitlines()


def fact(lines, name):
    """The text beside a name, with the lines below that go on with it."""
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{name} "))
    more = itertools.takewhile(lambda line: line.startswith("  "), lines[start + 1 :])
    return " ".join(line.strip() for line in [lines[start].removeprefix(name), *more])


def test_what_will_happen_comes_first_and_defaults_only_when_asked_for(build_spec, tmp_path):
    spec = build_spec()
    lines = lines_of(spec, tmp_path)
    assert lines[0].rstrip() == "plan for colours: classification with test_resnet (timm)"
    stages = [line.split()[:3] for line in lines[2:6]]
    assert stages == [[name, "to", "run"] for name in ("prepare", "train", "evaluate", "register")]
    assert "first run" in lines[2]
    assert "after prepare" in lines[3]
    assert "schedule.kind" not in "".join(lines)
    assert "--defaults shows" in lines[-1]
    with_defaults = lines_of(spec, tmp_path, defaults=True)
    assert any(line.startswith(" schedule.min_lr_scale") for line in with_defaults)


FREEZE = {
    "policy": "phases",
    "phases": [
        {"epochs": 1, "train": ["head"]},
        {"epochs": 2, "train": ["layer4", "head"], "lr_scale": 0.5},
        {"epochs": 1, "train": ["*"]},
    ],
}


def test_phases_are_told_in_one_line_and_in_one_column(build_spec, tmp_path):
    spec = build_spec(
        freeze=FREEZE, training={"epochs": 4}, backbone={"source": "timm", "name": "test_resnet"}
    )
    lines = lines_of(spec, tmp_path)
    assert max(map(len, lines)) <= 80
    text = fact(lines, "trains")
    assert text.startswith("from epoch 1 head (")
    assert "; from epoch 2 layer4, head (" in text
    assert "; from epoch 4 everything (100%) of " in text
    assert fact(lines, "rates").endswith("0.5 times that from epoch 2")
    rows = {line.split()[0]: line for line in lines if " backbone " in line or " head  " in line}
    assert "from epoch 4" in rows["layer1"]
    assert "from epoch 2" in rows["layer4"]
    assert " trains " in rows["head"]


@pytest.mark.parametrize(
    ("trains", "first_epochs", "text"),
    [
        ((True,), [0], "trains"),
        ((False,), [0], "frozen"),
        ((True, True), [0, 3], "trains"),
        ((False, True, False, True), [0, 2, 3, 6], "epoch 3, from epoch 7"),
        ((True, True, False), [0, 2, 5], "until epoch 5"),
        ((False, True, True, False), [0, 2, 5, 9], "epochs 3 to 9"),
    ],
)
def test_when_a_group_trains(trains, first_epochs, text):
    assert when_it_trains(LayerRow("x", "backbone", 1, trains), first_epochs) == text


def test_rates_are_named_one_by_one_or_by_their_ends(build_spec, tmp_path):
    backbone = {"source": "timm", "name": "test_resnet"}
    few = build_spec(backbone=backbone, optimizer={"lr": 1e-3, "layer_lr": {"layer4": 1e-4}})
    assert fact(lines_of(few, tmp_path), "rates") == "0.001 (conv1 to layer3), 0.0001 (layer4), 0.001 (head)"
    decay = build_spec(backbone=backbone, optimizer={"lr": 1e-3, "layer_decay": 0.5})
    assert re.fullmatch(r"\S+ \(conv1\) to 0\.001 \(head\)", fact(lines_of(decay, tmp_path), "rates"))


def test_a_changed_line_and_the_last_run_are_told(build_spec, tmp_path):
    context = RunContext(tmp_path / "home")
    prepared = prepare(build_spec(), context)
    evaluate(build_spec(), context, prepared, train(build_spec(), context, prepared))
    nothing = lines_of(build_spec(), tmp_path)
    assert all("reused" in line and "nothing changed" in line for line in nothing[2:5])
    assert not any(line.startswith("time ") for line in nothing)
    lines = lines_of(build_spec(optimizer={"lr": 1e-3}, training={"epochs": 9}), tmp_path)
    at = next(number for number, line in enumerate(lines) if line.startswith("train "))
    assert "optimizer.lr: 0.003 → 0.001" in lines[at]
    assert "training" in lines[at + 1]
    line = next(line for line in lines if line.startswith("evaluate"))
    assert "the model changed" in line
    assert "→" not in line
    assert re.fullmatch(r"about \d+ s: the last run took \d+ s per epoch \(cpu, fp32\)", fact(lines, "time"))


def test_devices_and_what_each_computes_are_told(build_spec, tmp_path):
    training = {"device": "cpu", "devices": 5, "batch_size": 12}
    lines = lines_of(build_spec(training=training), tmp_path)
    assert fact(lines, "devices") == "5, 2 or 3 images of each batch on each"
    with pytest.raises(PlanError, match="GPUs"):
        lines_of(build_spec(training=training | {"device": "auto"}), tmp_path)
