"""What a spec's layer rules come to on a model, and every rule that can't be met, at once."""

from __future__ import annotations

import pytest

from transferflow.errors import PlanError
from transferflow.stages.context import RunContext
from transferflow.stages.run import run_plan
from transferflow.stages.train.training_plan import compile_training_plan
from transferflow.tasks.build import build_parts

VIT = {"source": "timm", "name": "test_vit2"}


@pytest.fixture
def plan_of(build_spec):
    """The training plan of a small ViT with blocks.0 to blocks.7, under the given sections."""

    def _plan_of(**sections):
        spec = build_spec(backbone=VIT, data=build_spec().data.model_dump() | {"image_size": 64}, **sections)
        parts = build_parts(spec, ("a", "b"), pretrained=False, device="meta")
        return compile_training_plan(spec, parts)

    return _plan_of


def phases(*trains):
    return {"policy": "phases", "phases": [{"epochs": 1, "train": train} for train in trains]}


@pytest.mark.parametrize(
    ("freeze", "rule", "frozen"),
    [
        ({"policy": "backbone"}, "blocks.3", "blocks.3"),
        ({"policy": "until", "until": "blocks.3"}, "blocks.1", "blocks.1"),
        ({"policy": "until", "until": "blocks.3"}, "blocks.[01]", "blocks.0, blocks.1"),
        ({"policy": "layers", "layers": ["blocks.[0-3]"]}, "blocks.[12]", "blocks.1, blocks.2"),
        (phases(["head"], ["blocks.[4-7]", "head"]), "blocks.[12]", "blocks.1, blocks.2"),
    ],
)
def test_a_rate_for_groups_that_never_train_is_refused(plan_of, freeze, rule, frozen):
    with pytest.raises(PlanError) as caught:
        plan_of(freeze=freeze, optimizer={"layer_lr": {rule: 1e-4}})
    (problem,) = caught.value.problems
    assert problem.where == f'optimizer.layer_lr."{rule}"'
    assert problem.what == f"has a rate and never trains under freeze.policy {freeze['policy']}"
    assert problem.found == f"frozen: {frozen}"


@pytest.mark.parametrize(
    ("freeze", "rule", "with_rate"),
    [
        ({"policy": "until", "until": "blocks.3"}, "blocks.*", {f"blocks.{n}" for n in range(4, 8)}),
        ({"policy": "layers", "layers": ["blocks.[0-6]"]}, "blocks.?", {"blocks.7"}),
        (phases(["blocks.[3-6]", "head"]), "blocks.[45]", {"blocks.4", "blocks.5"}),
        (phases(["head"], ["*"]), "blocks.[45]", {"blocks.4", "blocks.5"}),
    ],
)
def test_a_rate_that_holds_somewhere_is_taken(plan_of, freeze, rule, with_rate):
    rows = plan_of(freeze=freeze, optimizer={"lr": 1e-2, "layer_lr": {rule: 1e-4}}).rows
    assert {row.group for row in rows if row.lr_high == 1e-4} == with_rate


@pytest.mark.parametrize(
    ("freeze", "rates", "places"),
    [
        (
            phases(["head"], ["blocks.[67]", "blocks.8", "haed"]),
            {"head*": 1e-3, "block.*": 1e-4},
            ["freeze.phases.1.train.1", "freeze.phases.1.train.2", 'optimizer.layer_lr."block.*"'],
        ),
        (
            {"policy": "layers", "layers": ["patch_embedding", "blocks.[01]", "nrm"]},
            {"blocks.9": 1e-4, "blocks.4": 1e-4, "hed": 1e-3},
            ["freeze.layers.0", "freeze.layers.2", 'optimizer.layer_lr."blocks.9"', "optimizer.layer_lr.hed"],
        ),
        (
            {"policy": "until", "until": "blocks.3"},
            {"blocks.9": 1e-4, "blocks.1": 1e-4},
            ['optimizer.layer_lr."blocks.9"', 'optimizer.layer_lr."blocks.1"'],
        ),
    ],
)
def test_every_wrong_rule_is_said_at_once(plan_of, freeze, rates, places):
    with pytest.raises(PlanError) as caught:
        plan_of(freeze=freeze, optimizer={"layer_lr": rates})
    assert [problem.where for problem in caught.value.problems] == places


def test_a_first_run_fails_before_it_prepares_anything(build_spec, tmp_path):
    context = RunContext(tmp_path / "home")
    with pytest.raises(PlanError, match=r"freeze\.phases\.0\.train\.0: no layer"):
        run_plan(build_spec(freeze=phases(["layer9"])), context)
    assert not list(context.home.rglob("manifest*"))
