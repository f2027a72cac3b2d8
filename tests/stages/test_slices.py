"""Slices of the test images from the data to the verdict, held against scikit-learn."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error

from transferflow.data.listing import load_listing
from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.snapshot.manifest import read_rows
from transferflow.errors import DataError, PlanError
from transferflow.evaluation.slices import worst_slice
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.stage import read_evaluation
from transferflow.stages.keys import evaluate_inputs
from transferflow.stages.plan.compile import compile_plan
from transferflow.stages.slices import read_slices, require_known_slices
from transferflow.tasks.base import SplitPredictions
from transferflow.tasks.build import build_task
from transferflow.tasks.slices import measure_slices


@pytest.fixture
def table(tmp_path):
    """60 images of three sizes, a column of sites and one of ages, and which of them is empty."""
    random = np.random.default_rng(0)
    lines = ["path,label,site,age,group,split"]
    for number in range(60):
        width = (8, 40, 300)[number % 3]
        Image.fromarray(random.integers(0, 255, (8, width, 3), np.uint8)).save(tmp_path / f"{number:02}.png")
        site = ("A", "B", "")[number % 3 if number < 50 else 0]
        split = "train" if number < 6 else "val" if number < 9 else "test"
        label = number * 7 // 2 % 3
        lines.append(f"{number:02}.png,{label},{site},{number},{number // 3},{split}")
    (tmp_path / "a.csv").write_text("\n".join(lines))
    return tmp_path


def spec_on(root, *slices, task="classification", **sections):
    data = {"format": "csv", "root": str(root), "file": "a.csv", "near_duplicates": "ignore"}
    document = {
        "name": "sliced",
        "task": {"kind": task},
        "data": data,
        "backbone": {"source": "timm", "name": "test_resnet", "weights": "none"},
        "evaluation": {"bootstrap": 50, "slices": list(slices)},
    }
    return ExperimentSpec.model_validate(document | sections)


def names_of(slicing):
    return [slicing.names[place] for place in slicing.of_image]


def test_columns_bins_sizes_and_groups(table, snapshot_of):
    slices = ({"by": "site"}, {"by": "age", "bins": [20, 40]}, {"by": "image_size"}, {"by": "group"})
    fields = {"format": "csv", "file": "a.csv", "near_duplicates": "ignore"}
    snapshot = snapshot_of(table, **fields)
    site, age, size, group = read_slices(spec_on(table, *slices), snapshot)
    with (table / "a.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    assert names_of(site) == [row["site"] or "(none)" for row in rows]
    assert site.names == ("A", "B", "(none)")
    bins = np.digitize([float(row["age"]) for row in rows], [20, 40])
    assert names_of(age) == [("below 20", "20 to 40", "40 or more")[n] for n in bins]
    assert set(names_of(size)) == {"below 256", "256 to 512"}
    assert names_of(group) == [row["group"] for row in rows]


def test_each_slice_is_measured_as_scikit_learn_does(table, snapshot_of):
    snapshot = snapshot_of(table, format="csv", file="a.csv", near_duplicates="ignore")
    spec = spec_on(table, {"by": "site", "min_images": 12})
    random, rows = np.random.default_rng(1), read_rows(snapshot, "test")
    probabilities = random.dirichlet(np.ones(3), len(rows)).astype(np.float32)
    column = pa.array(list(probabilities), pa.list_(pa.float32(), 3))
    found = pa.table({"id": [row.id for row in rows], "logits": column, "probabilities": column})
    predictions = SplitPredictions(found, snapshot, "test", table)
    slicings = read_slices(spec, snapshot)
    sites = measure_slices(build_task(spec), predictions, slicings, resamples=50, seed=0)["site"]
    where, truth = np.array(names_of(slicings[0])), np.array([int(row.labels[0]) for row in rows])
    answers = probabilities.argmax(axis=1)
    assert [one.name for one in sites] == ["A", "B", "(none)"]
    for one in sites:
        inside = where == one.name
        assert one.images == inside.sum()
        assert one.metrics["accuracy"].value == pytest.approx(accuracy_score(truth[inside], answers[inside]))
        expected = f1_score(truth[inside], answers[inside], average="macro")
        assert one.metrics["macro_f1"].value == pytest.approx(expected)
        assert one.metrics["accuracy"].low <= one.metrics["accuracy"].value <= one.metrics["accuracy"].high
    judged = [one for one in sites if one.judged]
    assert 0 < len(judged) < 4
    least = min(judged, key=lambda one: one.metrics["accuracy"].value)
    assert worst_slice(sites, "accuracy", lower_is_better=False) == least


def test_the_worst_slice_of_an_error_is_the_largest(table, snapshot_of):
    fields = {"format": "csv", "file": "a.csv", "near_duplicates": "ignore"}
    snapshot = snapshot_of(table, task="regression", **fields)
    spec = spec_on(table, {"by": "site", "min_images": 1}, task="regression")
    rows = read_rows(snapshot, "test")
    values = np.random.default_rng(2).random(len(rows)) * 3
    found = pa.table({"id": [row.id for row in rows], "value": values})
    predictions, slicings = SplitPredictions(found, snapshot, "test", table), read_slices(spec, snapshot)
    sites = measure_slices(build_task(spec), predictions, slicings, resamples=0, seed=0)["site"]
    where, truth = np.array(names_of(slicings[0])), np.array([row.number for row in rows])
    errors = {n: mean_absolute_error(truth[where == n], values[where == n]) for n in slicings[0].names}
    assert {one.name: one.metrics["mae"].value for one in sites} == pytest.approx(errors)
    assert worst_slice(sites, "mae", lower_is_better=True).name == max(errors, key=errors.get)


def test_another_site_is_another_evaluation_and_the_same_training(table, snapshot_of):
    spec = spec_on(table, {"by": "site"})
    snapshot = snapshot_of(table, format="csv", file="a.csv", near_duplicates="ignore")
    before = evaluate_inputs(spec, snapshot, "t", read_slices(spec, snapshot))
    assert evaluate_inputs(spec, snapshot, "t", read_slices(spec, snapshot)) == before
    text = (table / "a.csv").read_text()
    (table / "a.csv").write_text(text.replace("10.png,2,B", "10.png,2,C"))
    assert evaluate_inputs(spec, snapshot, "t", read_slices(spec, snapshot)) != before
    plain = spec_on(table)
    assert "slices" not in evaluate_inputs(plain, snapshot, "t", read_slices(plain, snapshot))


@pytest.mark.parametrize(
    ("slices", "where", "words"),
    [
        ({"by": "sit"}, "evaluation.slices", "did you mean `site`?"),
        ({"by": "site", "bins": [3]}, "evaluation.slices.0.bins", "something else than numbers"),
        ({"by": "path"}, "evaluation.slices.0", "too many values"),
    ],
)
def test_what_the_data_can_not_tell_is_refused_before_training(table, monkeypatch, slices, where, words):
    monkeypatch.setattr("transferflow.stages.slices.MAX_SLICES", 50)
    spec = spec_on(table, slices)
    with pytest.raises(DataError) as raised:
        require_known_slices(spec, load_listing(spec.data, spec.task.truth))
    assert raised.value.problems[0].where == where
    assert words in str(raised.value)
    with pytest.raises((DataError, PlanError)):
        compile_plan(spec, RunContext(table / "home"))


def test_a_run_tells_its_slices_everywhere(two_runs):
    """In the artifact, the end of the run, the verdict, the report and the card."""
    _, (_, (prepared, _, evaluated, registered)) = two_runs
    evaluation = read_evaluation(evaluated.folder)
    rows = read_rows(load_snapshot(prepared.folder), "test")
    table = pq.read_table(evaluated.folder / "predictions.parquet")
    classes = load_snapshot(prepared.folder).classes
    answers = np.array([classes[np.argmax(p)] for p in table["probabilities"].to_pylist()])
    truth, site = (
        np.array([row.labels[0] for row in rows]),
        np.array(["AB"[int(row.id[-6:-4]) % 2] for row in rows]),
    )
    for one in evaluation.slices["site"]:
        inside = site == one.name
        assert one.metrics["accuracy"].value == accuracy_score(truth[inside], answers[inside])
    assert {one.name for one in evaluation.slices["image_size"]} == {"below 256"}
    said = evaluated.summary["worst_slices"]
    assert said[0].startswith("worst accuracy by site: ")
    assert any("in every slice by site" in reason for reason in registered.summary["reasons"])
    page = (registered.folder / "report.html").read_text()
    card = (registered.folder / "README.md").read_text()
    for text in (page, card):
        assert f"W{said[0][1:]}." in text
    assert "| site | images | Accuracy |" in card
    assert '<a href="#slices">' in page
