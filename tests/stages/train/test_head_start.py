import json

import pytest
from safetensors.torch import load_file

from transferflow.errors import PlanError
from transferflow.stages.context import RunContext
from transferflow.stages.plan.compile import compile_plan
from transferflow.stages.run import run_plan

pytestmark = pytest.mark.slow

REAL_WEIGHTS = {"source": "package", "name": "tf_efficientnet_lite0"}
PROBE = {"backbone": REAL_WEIGHTS, "freeze": {"policy": "backbone"}}


@pytest.fixture
def context(tmp_path):
    return RunContext(tmp_path / "home")


def test_prototypes_are_right_before_any_training(build_spec, context):
    slow = {"epochs": 1, "batch_size": 12, "workers": 0}
    rate = {"lr": 1e-7}
    plain = run_plan(build_spec(**PROBE, training=slow, optimizer=rate), context)
    warm = run_plan(build_spec(**PROBE, training=slow, optimizer=rate, head={"init": "prototypes"}), context)
    accuracy = [o[2].summary["metrics"]["accuracy"]["value"] for o in (plain, warm)]
    assert accuracy[1] > 0.9
    assert accuracy[1] > accuracy[0]


def test_without_an_epoch_the_model_is_measured_as_it_starts(build_spec, context):
    spec = build_spec(**PROBE, training={"epochs": 0, "batch_size": 12}, head={"init": "prototypes"})
    plan = compile_plan(spec, context)
    assert not any(any(row.trains) for row in plan.training.rows)
    outcomes = run_plan(spec, context)
    assert outcomes[2].summary["metrics"]["accuracy"]["value"] > 0.9
    assert outcomes[3].summary["verdict"] == "PROMOTE"
    assert outcomes[1].summary["kept"].startswith("the weights as they came: nothing is trained")
    assert all(o.reused for o in run_plan(spec, context))


def test_without_an_epoch_the_champion_is_measured_on_the_data_of_today(build_spec, context, colour_folder):
    as_it_is = {"epochs": 0, "batch_size": 12}
    again = build_spec(**PROBE, training=as_it_is, head={"warm_start": "champion"})
    with pytest.raises(PlanError, match="no row for each class"):
        run_plan(again, context)  # there is no champion yet
    trained = build_spec(**PROBE, training={"epochs": 2, "batch_size": 12, "workers": 0})
    accuracy = run_plan(trained, context)[2].summary["metrics"]["accuracy"]["value"]
    measured = run_plan(again, context)[2].summary["metrics"]["accuracy"]["value"]
    assert measured == accuracy


def test_linear_probe_on_cached_features_keeps_the_backbone(build_spec, context, caplog):
    caplog.set_level("INFO")
    many = {"epochs": 30, "batch_size": 12, "workers": 0}
    outcomes = run_plan(build_spec(**PROBE, training=many, optimizer={"lr": 2e-2}), context)
    assert "up to backbone once" in caplog.text
    history = json.loads((outcomes[1].folder / "history.json").read_text())
    assert all(proof["before"] == proof["after"] for proof in history["freeze_proof"])
    assert outcomes[2].summary["metrics"]["accuracy"]["value"] > 0.9


def test_warm_start_carries_rows_by_class_name_and_is_reused(build_spec, context, colour_folder):
    spec = build_spec(**PROBE, head={"warm_start": "champion"})
    first = run_plan(spec, context)
    assert all(o.reused for o in run_plan(spec, context))
    (colour_folder / "red").rename(colour_folder / "zinnober")
    (colour_folder / "amber").mkdir()
    for path in sorted((colour_folder / "green").iterdir())[:8]:
        path.rename(colour_folder / "amber" / path.name)
    quick = {"epochs": 1, "batch_size": 12, "workers": 0}
    grown = build_spec(**PROBE, head={"warm_start": "champion"}, training=quick, optimizer={"lr": 1e-9})
    second = run_plan(grown, context)
    old, new = (load_file(o[1].folder / "weights.safetensors") for o in (first, second))
    (name,) = [key for key in old if key.startswith("head") and key.endswith("weight")]
    assert old[name].shape[0] == 3
    assert new[name].shape[0] == 4  # amber, blue, green, zinnober
    assert (new[name][1] - old[name][0]).abs().max() < 1e-4  # blue
    assert (new[name][2] - old[name][1]).abs().max() < 1e-4  # green
