import errno
import fcntl
import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from safetensors.torch import load_file

from transferflow.cli.main import main
from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.snapshot.manifest import read_rows
from transferflow.errors import DataError, PlanError, RegistryError
from transferflow.inference.image_files import list_images
from transferflow.inference.predict import predict_images
from transferflow.inference.sources import NamedImage
from transferflow.stages.bundles import open_model
from transferflow.stages.context import RunContext
from transferflow.stages.plan.compile import compile_plan
from transferflow.stages.plan.epoch_rates import epoch_rates
from transferflow.stages.register.standing import describe_standing
from transferflow.stages.run import run_plan

pytestmark = pytest.mark.slow

REAL_WEIGHTS = {"source": "package", "name": "tf_efficientnet_lite0"}


@pytest.fixture
def context(tmp_path):
    return RunContext(tmp_path / "home")


def test_whole_path_then_everything_reused(build_spec, context):
    spec = build_spec()
    first = run_plan(spec, context)
    assert [o.stage for o in first] == ["prepare", "train", "evaluate", "register"]
    assert not any(o.reused for o in first)
    assert first[3].summary["verdict"] == "PROMOTE"
    assert (context.home / "reports" / "colours.html").stat().st_size > 10_000
    second = run_plan(spec, context)
    assert all(o.reused for o in second)
    assert [o.key for o in second] == [o.key for o in first]
    assert second[3].summary["version"] == first[3].summary["version"] == 1
    plan = compile_plan(spec, context)
    assert [(s.stage, s.key, s.reused) for s in plan.stages] == [(o.stage, o.key, True) for o in second]


def test_a_home_on_a_disk_that_knows_no_file_locks(build_spec, context, monkeypatch):
    """NFS without its lock daemon; whoever locks a file in any stage comes by here."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert run_plan(build_spec(), context)[3].summary["verdict"] == "PROMOTE"


@pytest.mark.parametrize("steps", ["one", "several"])
def test_the_planned_rates_are_those_of_the_optimizer(build_spec, context, steps):
    images = compile_plan(build_spec(), context).images["train"]
    size = images - 1 if steps == "one" else 4  # a last batch of one is no step
    training = {"epochs": 2, "batch_size": size, "workers": 0, "device": "cpu"}
    spec = build_spec(training=training, schedule={"min_lr_scale": 0.1})
    trained = run_plan(spec, context)[1]
    history = json.loads((trained.folder / "history.json").read_text())
    planned = [row.lr_end for row in epoch_rates(compile_plan(spec, context)) if row.group == "head"]
    assert planned == pytest.approx([epoch["lr"] for epoch in history["epochs"]])


def test_the_epoch_that_is_best_by_the_gates_metric_is_kept(build_spec, context):
    spec = build_spec(
        registration={"gate": {"metric": "ece"}},
        training={"epochs": 5, "batch_size": 12, "workers": 0, "device": "cpu"},
    )
    trained = run_plan(spec, context)[1]
    history = json.loads((trained.folder / "history.json").read_text())
    errors = [epoch["ece"] for epoch in history["epochs"]]
    accuracy = [epoch["accuracy"] for epoch in history["epochs"]]
    assert errors[history["best_epoch"]] == min(errors)
    assert accuracy[history["best_epoch"]] < max(accuracy)  # so that the two metrics disagree
    assert "the best by validation ece" in trained.summary["kept"]
    (warning,) = (w for w in compile_plan(spec, context).warnings if "ece" in w)
    assert "may be one that has learned little" in warning


def test_changed_rate_trains_again_on_the_same_snapshot(build_spec, context):
    run_plan(build_spec(), context)
    changed = build_spec(optimizer={"lr": 1e-3})
    plan = compile_plan(changed, context)
    assert [s.reused for s in plan.stages] == [True, False, False, False]
    assert plan.stages[1].changed == ("optimizer.lr: 0.003 → 0.001",)
    outcomes = run_plan(changed, context)
    assert [o.reused for o in outcomes] == [True, False, False, False]
    assert outcomes[3].summary["version"] == 2


def test_a_renamed_test_image_is_measured_and_registered_again(build_spec, context):
    spec = build_spec()
    first = run_plan(spec, context)
    image = read_rows(load_snapshot(first[0].folder), "test")[0].absolute_path
    image.rename(image.with_name("renamed.png"))
    assert [o.reused for o in run_plan(spec, context)] == [False, True, False, False]


def test_touched_files_prepare_again_but_do_not_train_again(build_spec, context, colour_folder):
    spec = build_spec()
    run_plan(spec, context)
    for path in colour_folder.rglob("*.png"):
        path.touch()
    assert [o.reused for o in run_plan(spec, context)] == [False, True, True, True]


def test_what_is_left_out_is_said_and_stands_in_the_report(build_spec, context, colour_folder, caplog):
    (colour_folder / "red" / "broken.png").write_bytes(b"no image")
    spec = build_spec()
    data = spec.data.model_copy(update={"max_bad_fraction": 0.1})
    run_plan(spec.model_copy(update={"data": data}), context)
    said = "a file is left out: red/broken.png: the file is not an image"
    assert f"warning: {said}" in caplog.text
    assert said in (context.home / "reports" / "colours.html").read_text()


def test_a_folder_with_a_models_name_hides_it_not(build_spec, context, tmp_path, monkeypatch):
    run_plan(build_spec(), context)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "colours" / "sub").mkdir(parents=True, exist_ok=True)
    assert open_model("colours", context).classes == ("blue", "green", "red")
    with pytest.raises(RegistryError, match="no model bundle, and no model has its name"):
        open_model("colours/sub", context)


def test_a_registry_that_does_not_answer_is_not_taken_for_a_folder_without_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "colours").mkdir()
    nobody = RunContext(tmp_path / "home", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryError, match="refused or did not answer") as caught:
        open_model("colours", nobody)
    assert caught.value.problems[0].found == "[Errno 111] Connection refused"


def test_an_image_more_is_a_new_snapshot(build_spec, context, colour_folder):
    spec = build_spec()
    before = run_plan(spec, context)
    shutil.copy(colour_folder / "red" / "00.png", colour_folder / "red" / "copy.png")
    after = run_plan(spec, context)
    assert not any(o.reused for o in after)
    assert sum(after[0].summary["images"].values()) == sum(before[0].summary["images"].values()) + 1


def test_two_homes_give_the_same_weights(build_spec, tmp_path):
    spec = build_spec()
    one, two = (run_plan(spec, RunContext(tmp_path / name)) for name in ("one", "two"))
    assert [o.key for o in one[:3]] == [o.key for o in two[:3]]
    weights = [load_file(o[1].folder / "weights.safetensors") for o in (one, two)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    assert one[2].summary == two[2].summary


def test_deleted_version_is_registered_again(build_spec, context):
    spec = build_spec()
    run_plan(spec, context)
    client = MlflowClient(registry_uri=f"sqlite:///{context.home}/mlflow/mlflow.db")
    client.delete_registered_model("colours")
    outcomes = run_plan(spec, context)
    assert [o.reused for o in outcomes] == [True, True, True, False]


def test_prediction_gives_the_logits_of_the_evaluation(build_spec, context, colour_folder):
    import pyarrow.parquet as pq

    outcomes = run_plan(build_spec(), context)
    measured = pq.read_table(outcomes[2].folder / "predictions.parquet").to_pylist()
    paths = [colour_folder / row["id"] for row in measured]
    images = [NamedImage(str(path), path) for path in paths]
    predicted = predict_images(open_model("colours", context), images, context.home / "masks")
    predicted = predicted.found.table.to_pylist()
    assert len(predicted) == len(measured) > 3
    for one, other in zip(measured, predicted, strict=True):
        assert other["logits"] == pytest.approx(one["logits"], abs=1e-5)


def test_unreadable_images_are_listed_not_raised(build_spec, context, tmp_path, colour_folder):
    run_plan(build_spec(), context)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    good = colour_folder / "red" / "00.png"
    images = [NamedImage(str(path), path) for path in (bad, good)]
    found = predict_images(open_model("colours", context), images, tmp_path)
    assert [f.path for f in found.failures] == [str(bad)]
    assert found.found.table["id"].to_pylist() == [str(good)]
    with pytest.raises(DataError, match="no such file"):
        list_images([tmp_path / "nowhere"], tmp_path)


def test_frozen_groups_keep_every_parameter_and_buffer(build_spec, context):
    spec = build_spec(freeze={"policy": "until", "until": "blocks.4"}, backbone=REAL_WEIGHTS)
    outcomes = run_plan(spec, context)
    history = json.loads((outcomes[1].folder / "history.json").read_text())
    (proof,) = history["freeze_proof"]
    assert proof["groups"]
    assert proof["before"] == proof["after"]
    assert proof["tensors"] > 10
    client = MlflowClient(
        f"sqlite:///{context.home}/mlflow/mlflow.db", f"sqlite:///{context.home}/mlflow/mlflow.db"
    )
    run_id = client.get_model_version("colours", "1").run_id
    assert client.get_run(run_id).data.tags["transferflow.freeze_proof"] == "holds"
    logged = client.download_artifacts(run_id, "freeze_proof.json", str(context.home))
    assert json.loads(Path(logged).read_text()) == [proof]
    report = (context.home / "reports" / "colours.html").read_text()
    assert proof["before"][:12] in report


def test_unknown_layer_group_is_a_plan_error_with_the_names_that_exist(build_spec, context):
    spec = build_spec(freeze={"policy": "until", "until": "layer9"}, backbone=REAL_WEIGHTS)
    with pytest.raises(PlanError, match=r"blocks\.1"):
        compile_plan(spec, context)


def test_a_former_spec_again_says_who_is_champion_today_and_how_to_go_back(build_spec, context):
    ungated = {"gate": {"against_champion": None}}
    first = run_plan(build_spec(registration=ungated), context)[3].summary
    second = run_plan(build_spec(registration=ungated, optimizer={"lr": 1e-3}), context)[3].summary
    latest = (context.home / "reports" / "colours.html").read_text()
    again = run_plan(build_spec(registration=ungated), context)[3]
    assert again.reused
    assert again.summary["reasons"] == first["reasons"]
    assert (again.summary["version"], again.summary["aliases"], again.summary["champion"]) == (
        1,
        ["reference"],  # nothing was compared since
        2,
    )
    said = "\n".join(describe_standing(again.summary))
    assert f"decided {first['decided']}; version 2 is champion today" in said
    assert "transferflow models promote colours/1" in said
    reports = [Path(summary["report"]).read_text() for summary in (first, second, again.summary)]
    assert reports[0] == reports[2] != reports[1] == latest
    assert (context.home / "reports" / "colours.html").read_text() == latest
    assert main(["models", "promote", "colours/1", "--reason", "slow", "--home", str(context.home)]) == 0
    assert describe_standing(run_plan(build_spec(registration=ungated), context)[3].summary) == ()


def test_a_lost_verdict_is_taken_from_the_registry(build_spec, context):
    first = run_plan(build_spec(), context)[3]
    (first.folder / "registration.json").write_text("damaged")
    again = run_plan(build_spec(), context)[3]
    assert not again.reused
    assert again.summary == first.summary


def test_gate_below_the_minimum_rejects(build_spec, context):
    spec = build_spec(
        registration={"gate": {"metric": "accuracy", "minimum": 1.0}},
        training={"epochs": 1, "batch_size": 12, "workers": 0},
        optimizer={"lr": 1e-6},
    )
    summary = run_plan(spec, context)[3].summary
    assert summary["verdict"] == "REJECT"
    assert "accuracy" in summary["reasons"][0]
    assert not summary["is_champion"]


def test_same_model_again_is_held_against_the_champion(build_spec, context):
    run_plan(build_spec(), context)
    again = build_spec(training={"epochs": 2, "batch_size": 12, "workers": 0, "seed": 1})
    summary = run_plan(again, context)[3].summary
    assert summary["verdict"] in ("HOLD", "PROMOTE", "REJECT")
    assert any("champion" in reason for reason in summary["reasons"])
