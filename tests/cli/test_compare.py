"""`transferflow compare` on two real versions, whose numbers are computed anew by scikit-learn and scipy."""

import json

import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest
from sklearn.metrics import recall_score

from transferflow.cli.main import main


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
