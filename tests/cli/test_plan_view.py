from __future__ import annotations

import shutil

import pytest
from rich.console import Console

from transferflow.cli.plan_view import plan_view
from transferflow.stages.context import RunContext
from transferflow.stages.plan.compile import compile_plan


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
