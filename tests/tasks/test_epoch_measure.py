"""After an epoch a model is measured by less work, and gets the values of a whole evaluation."""

from dataclasses import replace

import pyarrow as pa
import pytest

from transferflow.data.snapshot.manifest import read_rows
from transferflow.data.snapshot.pixels import read_true_mask
from transferflow.evaluation.segmentation import counts
from transferflow.spec.sections.data import KeptShape
from transferflow.tasks import segmentation_truth
from transferflow.tasks.base import MIN_SCORE, TEMPERATURE, SplitPredictions
from transferflow.tasks.build import build_task
from transferflow.tasks.detection import SCHEMA
from transferflow.tasks.segmentation_truth import KeptMasks


@pytest.fixture
def measured(load, build_parts, inputs_of, tmp_path):
    """Values after an epoch and of an evaluation; images are counted in two parts, as by two devices."""

    def run(spec, watched=""):
        snapshot = load(spec, tmp_path / "snapshot")
        task, parts = build_parts(spec, snapshot)
        task.apply_units(parts.model, snapshot)
        model = parts.model.eval()

        def inputs():
            return inputs_of(spec, snapshot, parts, "val", tmp_path / "masks")

        measure = task.build_measure(snapshot, read_rows(snapshot, "val"), watched)
        batches = [[batch] for batch in inputs().batches]
        assert len(batches) > 1
        shares = [measure.count(model, replace(inputs(), batches=batch)) for batch in batches]
        found = measure.measure(pa.concat_tables(shares))
        assert not (tmp_path / "masks").exists()
        predictions = SplitPredictions(task.predict(model, inputs()), snapshot, "val", tmp_path / "masks")
        whole = task.evaluate(predictions, resamples=0, seed=0)
        return found, {name: metric.value for name, metric in whole.metrics.items()}

    return run


def in_small_batches(spec, **sections):
    training = spec.training.model_copy(update={"batch_size": 1})
    return spec.model_copy(update={"training": training, **sections})


def test_of_labels(build_spec, measured):
    training = {"batch_size": 5, "workers": 0, "device": "cpu"}
    found, expected = measured(build_spec(training=training, evaluation={"calibrate": True}))
    assert found.pop(TEMPERATURE) > 0
    assert found == pytest.approx(expected, rel=1e-5)  # batches of another size may be computed otherwise
    assert len(found) == 6


def test_of_several_labels(build_spec, colour_folder, measured):
    files = sorted(colour_folder.rglob("*.png"))
    lines = [f"{f.relative_to(colour_folder)},{f.parent.name};{'ab'[n % 2]}" for n, f in enumerate(files)]
    (colour_folder / "labels.csv").write_text("\n".join(["path,label", *lines]))
    split = {"train": 0.4, "val": 0.4, "test": 0.2}
    data = {
        "format": "csv",
        "root": str(colour_folder),
        "file": "labels.csv",
        "image_size": 32,
        "split": split,
    }
    task = {"kind": "classification", "multilabel": True}
    found, expected = measured(in_small_batches(build_spec(task=task, data=data)))
    assert found == pytest.approx(expected, rel=1e-5)
    assert found["average_precision"] > 0


def test_of_numbers(discs, measured):
    found, expected = measured(in_small_batches(discs))
    assert found == pytest.approx(expected, rel=1e-5)


def test_of_boxes(crowns, load, tmp_path):
    """Boxes that are partly right; the least score is the one that the report shows."""
    snapshot = load(crowns, tmp_path / "snapshot")
    rows, task = read_rows(snapshot, "val"), build_task(crowns)
    boxes = [(row.id, box, shift) for row in rows for box in row.boxes for shift in (2, 40)]
    columns = [(i, b.label, 1 / s, b.x_min, b.y_min + s, b.x_max, b.y_max + s) for i, b, s in boxes]
    table = pa.table(dict(zip(SCHEMA.names, zip(*columns, strict=True), strict=True)), schema=SCHEMA)
    found = dict(task.build_measure(snapshot, rows, "map").measure(table))
    whole = task.evaluate(SplitPredictions(table, snapshot, "val", tmp_path), resamples=0, seed=0)
    assert 0 < found.pop(MIN_SCORE) == whole.curves.thresholds.best
    assert found == pytest.approx({n: m.value for n, m in whole.metrics.items()}, nan_ok=True, rel=1e-12)
    assert 0 < found["map"] < 1


@pytest.mark.parametrize("watched", ["miou", "boundary_f1"])
def test_of_masks(cells, measured, watched):
    found, expected = measured(in_small_batches(cells), watched)
    if watched == "miou":
        del expected["boundary_f1"]
    assert found == pytest.approx(expected, rel=1e-5)


def test_outlines_are_looked_at_only_if_they_are_watched(
    cells, load, build_parts, inputs_of, tmp_path, monkeypatch
):
    snapshot = load(cells, tmp_path / "snapshot")
    task, parts = build_parts(cells, snapshot)
    monkeypatch.setattr(counts, "_boundary_counts", None)
    measure = task.build_measure(snapshot, read_rows(snapshot, "val"), "dice")
    inputs = inputs_of(cells, snapshot, parts, "val", tmp_path / "masks")
    assert "boundary_f1" not in measure.measure(measure.count(parts.model.eval(), inputs))


@pytest.mark.parametrize("room", [0, 1 << 20])
def test_true_masks_are_read_once_while_there_is_room(cells, load, tmp_path, monkeypatch, room):
    snapshot = load(cells, tmp_path / "snapshot")
    rows = read_rows(snapshot, "val")
    read = []

    def watched(files, row):
        read.append(row.id)
        return read_true_mask(files, row)

    monkeypatch.setattr(segmentation_truth, "read_true_mask", watched)
    masks = KeptMasks(snapshot, rows, 255, KeptShape(), room)
    first, again = ([masks.read(row.id) for row in rows] for _ in range(2))
    assert all(
        (one == other).all() and one.shape == other.shape for one, other in zip(first, again, strict=True)
    )
    assert first[0].any()
    assert len(read) == len(rows) * (1 if room else 2)
