"""`transferflow compare` on two real versions, whose numbers are computed anew by scikit-learn and scipy."""

import json
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest
from sklearn.metrics import recall_score

from transferflow.cli.main import main
from transferflow.stages.candidates import find_candidate
from transferflow.stages.runs import list_runs


@pytest.fixture(scope="module")
def compared(two_runs, tmp_path_factory):
    """What `compare` of both versions says, as text, as JSON, and as a page."""
    context, outcomes = two_runs
    page = tmp_path_factory.mktemp("compare") / "page.html"
    words = ["compare", "colours/1", "colours/2", "--home", str(context.home), "--html", str(page)]
    return words, page, outcomes


def test_the_numbers_are_those_of_the_two_models(compared, capsys):
    words, _, (first, second) = compared
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (pair,) = found["pairs"]
    manifest = pq.read_table(second[0].folder / "manifest.parquet").to_pylist()
    known = {
        row["sha256"]
        for row in pq.read_table(first[0].folder / "manifest.parquet").to_pylist()
        if row["split"] != "test"
    }
    test = [row for row in manifest if row["split"] == "test"]
    kept = [row["id"] for row in test if row["sha256"] not in known]
    accuracy = pair["metrics"]["accuracy"]
    assert (found["images"], accuracy["images"]) == (len(test), len(kept))

    classes = ("blue", "green", "red")
    said = {
        row["id"]: classes[max(range(3), key=row["probabilities"].__getitem__)]
        for row in pq.read_table(second[2].folder / "predictions.parquet").to_pylist()
    }
    truth = {row["id"]: row["labels"][0] for row in test}
    right = sum(said[image] == truth[image] for image in kept)
    assert accuracy["champion_value"] + accuracy["difference"] == pytest.approx(right / len(kept))
    recalls = recall_score([*truth.values()], [said[i] for i in truth], labels=classes, average=None)
    ours = {label: after for label, metric, _, after in pair["per_class"] if metric == "recall"}
    assert [ours[name] for name in classes] == pytest.approx(recalls)
    # Only images that one of the two gets right differ in accuracy; the exact test counts just those.
    before = {d["image"]: d["value_before"] for d in pair["disagreements"]}
    assert pair["metric"] == "accuracy"
    assert len(before) == min(pair["disagreeing"], 12)
    if pair["disagreeing"] == len(before):
        won = sum(value == 0 for value in before.values())
        expected = binomtest(won, len(before), 0.5).pvalue if before else 1.0
        assert accuracy["p_value"] == pytest.approx(expected)


def test_it_is_told_in_the_terminal_and_on_a_page(compared, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    words, page, _ = compared
    assert main(words) == 0
    out = capsys.readouterr().out
    text = page.read_text()
    for shown in (out, text):
        assert "colours/2 against colours/1" in shown
        assert "optimizer.lr: 0.003 → 0.0001" in shown
        assert "were trained on" in shown or "was trained on are left out" in shown
        assert "in another split" in shown
        assert "ms per image" in shown
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_what_can_not_be_compared_is_said(two_runs, capsys):
    home = ["--home", str(two_runs[0].home)]
    assert main(["compare", "colours/1", *home]) == 2
    assert main(["compare", "colours/1", "colours/9", *home]) == 1
    assert "no version or alias '9'" in capsys.readouterr().err


def test_models_of_two_tasks_are_told_apart(two_runs, bundles, capsys):
    home = ["--home", str(two_runs[0].home)]
    assert main(["compare", str(bundles["segmentation"]), "colours/2", *home]) == 1
    assert "trained for segmentation, not for classification" in capsys.readouterr().err


def test_runs_specs_and_bundles_are_models_too(two_runs, tmp_path, capsys):
    """The same two models by other names have the same numbers."""
    context, (first, second) = two_runs
    home = ["--home", str(context.home), "--json"]
    assert main(["compare", "colours/1", "colours/2", *home]) == 0
    expected = json.loads(capsys.readouterr().out)
    spec = tmp_path / "second.yaml"
    described = json.loads((second[1].folder / "model.json").read_text())["spec"]
    spec.write_text(json.dumps(described))
    bundle = shutil.copytree(first[1].folder, tmp_path / "taken-along")
    for old, new in (("models:/colours/1", str(spec)), (str(bundle), "colours/2")):
        assert main(["compare", old, new, *home]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["name"] == expected["name"]
        (pair,), (other,) = found["pairs"], expected["pairs"]
        assert pair["per_class"] == other["per_class"]
        if old == "models:/colours/1":
            assert pair["metrics"] == other["metrics"]
        else:  # nobody knows which images a bundle has seen
            assert pair["name"] == "taken-along"
            assert "is not known here" in pair["note"]
            assert pair["metrics"]["accuracy"]["images"] == expected["images"]


def test_what_can_not_be_the_last_one_is_said(two_runs, tmp_path, capsys):
    context, (first, second) = two_runs
    home = ["--home", str(context.home)]
    assert main(["compare", "colours/1", str(first[1].folder), *home]) == 1
    assert "name a version last" in capsys.readouterr().err
    described = json.loads((second[1].folder / "model.json").read_text())["spec"]
    described["optimizer"]["lr"] = 0.5
    (tmp_path / "other.yaml").write_text(json.dumps(described))
    assert main(["compare", "colours/1", str(tmp_path / "other.yaml"), *home]) == 1
    assert "has not been run as it is" in capsys.readouterr().err


def test_a_run_is_found_by_its_name(two_runs, monkeypatch):
    """Where the registered model has another name than the run."""
    context, _ = two_runs
    runs = [replace(run, name="nightly") for run in list_runs(context)]
    monkeypatch.setattr("transferflow.stages.candidates.list_runs", lambda context: runs)
    assert find_candidate("nightly", context).name == "colours/2"
