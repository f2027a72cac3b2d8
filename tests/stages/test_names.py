"""Names that only the data can confirm: refused by the plan, by prepare and by train, each for itself."""

import pytest

from transferflow.errors import DataError, PlanError
from transferflow.stages.context import RunContext
from transferflow.stages.names import require_known_classes
from transferflow.stages.plan.compile import compile_plan
from transferflow.stages.prepare import prepare
from transferflow.stages.train.stage import train


@pytest.fixture
def context(tmp_path):
    return RunContext(tmp_path / "home")


@pytest.fixture
def weighted(build_spec):
    """A spec whose class weights name classes."""

    def build(*names):
        return build_spec(training={"epochs": 1, "class_weights": dict.fromkeys(names, 2.0)})

    return build


@pytest.mark.parametrize("stage", [compile_plan, prepare])
def test_weights_of_a_class_that_the_data_has_not(weighted, context, stage):
    with pytest.raises(PlanError) as caught:
        stage(weighted("red", "geren", "x"), context)
    assert [(p.where, p.allowed, p.hint) for p in caught.value.problems] == [
        ("training.class_weights.geren", "blue, green, red", "did you mean `green`?"),
        ("training.class_weights.x", "blue, green, red", ""),
    ]
    assert not (context.home / "artifacts").exists()
    stage(weighted("red", "green"), context)


def test_train_looks_again_at_the_snapshot(weighted, build_spec, context):
    prepared = prepare(build_spec(), context)
    with pytest.raises(PlanError, match="no class 'geren'"):
        train(weighted("geren"), context, prepared)


@pytest.mark.parametrize("weights", [None, "balanced"])
def test_weights_that_name_no_class_need_none(build_spec, weights):
    require_known_classes(build_spec(training={"class_weights": weights}), ("a", "b"))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (
            ["red", "green", "bleu"],
            "label 'blue' is not among the classes \\(20 times\\).*mean `bleu`",
        ),
        (["red", "green", "blue", "pink"], "no image has the label 'pink'"),
    ],
)
def test_the_plan_holds_the_class_list_against_the_labels(build_spec, context, classes, message):
    spec = build_spec()
    data = spec.data.model_copy(update={"classes": tuple(classes)})
    with pytest.raises(DataError, match=message):
        compile_plan(spec.model_copy(update={"data": data}), context)
