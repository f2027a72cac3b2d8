import json
import math
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
import torch

from transferflow.data.loading.loader import build_loader
from transferflow.data.snapshot.manifest import read_rows
from transferflow.spec.sections.intensity import FullRange
from transferflow.stages.split_images import eval_transform_of
from transferflow.tasks.base import ImagePredictions, SplitPredictions
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import read_min_score, save_bundle
from transferflow.tasks.detection import SCHEMA
from transferflow.tasks.output.coco import coco_document
from transferflow.tasks.rendering.viewable import show_row

SHOW = partial(show_row, channels=3, intensity=FullRange())


def train_steps(spec, snapshot, task, parts, steps):
    transform = eval_transform_of(spec, parts.preprocessing)
    loader = build_loader(
        snapshot,
        "train",
        transform=transform,
        batch_size=6,
        seed=0,
        workers=0,
        truth=spec.task.truth,
        train=True,
        cache=None,
    )
    losses_of = task.build_losses(snapshot)
    optimizer = torch.optim.AdamW(parts.model.parameters(), lr=2e-3)
    parts.model.train()
    history = []
    for epoch in range(steps):
        for batch in loader.epoch(epoch):
            losses = losses_of(parts.model, batch)
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
            history.append({name: value.item() for name, value in losses.items()})
    return history


def test_trains_predicts_and_is_measured_in_pixels_of_the_original(
    crowns, load, build_parts, inputs_of, tmp_path
):
    snapshot = load(crowns, tmp_path / "snapshot")
    task, parts = build_parts(crowns, snapshot)
    history = train_steps(crowns, snapshot, task, parts, 40)
    assert set(history[0]) == {"classification", "bbox_regression", "bbox_ctrness"}
    assert all(math.isfinite(value) for step in history for value in step.values())
    parts.model.eval()
    table = task.predict(parts.model, inputs_of(crowns, snapshot, parts, "train", tmp_path))
    assert table.schema == SCHEMA
    corners = np.stack([table[name].to_numpy() for name in ("x_min", "y_min", "x_max", "y_max")], 1)
    assert (corners >= 0).all()
    assert (corners <= [64, 48, 64, 48]).all()
    predictions = SplitPredictions(table, snapshot, "train", tmp_path)
    found = task.evaluate(predictions, resamples=0, seed=0)
    assert found.metrics["map50"].value > 0.6


def test_nothing_found_is_measured_and_a_class_without_test_images_has_no_value(crowns, load, tmp_path):
    snapshot = load(crowns, tmp_path / "snapshot")
    task = build_task(crowns)
    found = task.evaluate(
        SplitPredictions(SCHEMA.empty_table(), snapshot, "test", tmp_path), resamples=50, seed=0
    )
    assert found.metrics["map"].value == 0
    assert found.images == 3
    assert math.isnan(found.per_class["green"]["ap"])


def perfect(rows):
    return pa.Table.from_pylist(
        [
            {"id": row.id, "label": b.label, "score": 0.9}
            | {name: getattr(b, name) for name in ("x_min", "y_min", "x_max", "y_max")}
            for row in rows
            for b in row.boxes
        ],
        schema=SCHEMA,
    )


def test_a_perfect_answer_has_no_worst_case_and_the_full_score(crowns, load, tmp_path):
    snapshot = load(crowns, tmp_path / "snapshot")
    task = build_task(crowns)
    table = perfect(read_rows(snapshot, "test"))
    predictions = SplitPredictions(table, snapshot, "test", tmp_path)
    found = task.evaluate(predictions, resamples=50, seed=0)
    assert found.metrics["map"].value == pytest.approx(1)
    statistic = task.build_statistic(predictions, "map")
    assert statistic(np.ones((2, 3))) == pytest.approx([1, 1])
    assert task.show_cases(predictions, SHOW, choice="worst", limit=4) == []


def test_the_worst_cases_show_truth_beside_prediction(crowns, load, tmp_path):
    snapshot = load(crowns, tmp_path / "snapshot")
    task = build_task(crowns)
    cases = task.show_cases(
        SplitPredictions(SCHEMA.empty_table(), snapshot, "test", tmp_path), SHOW, choice="worst", limit=5
    )
    assert [case.title for case in cases] == ["2 missed, 0 false, 0 found", "1 missed, 0 false, 0 found"]
    assert [panel.label for panel in cases[0].panels] == ["truth", "prediction"]
    assert cases[0].panels[0].image.shape == (240, 320, 3)
    assert (cases[0].panels[0].image != cases[0].panels[1].image).any()


def test_cases_show_the_boxes_that_predict_would_show(crowns, load, build_parts, tmp_path):
    snapshot = load(crowns, tmp_path / "snapshot")
    task, parts = build_parts(crowns, snapshot)
    transform = eval_transform_of(crowns, parts.preprocessing)
    save_bundle(tmp_path, crowns, snapshot.classes, transform, parts.model, min_score=0.5)
    weak = perfect(read_rows(snapshot, "test"))
    weak = weak.set_column(2, SCHEMA.field("score"), [pa.array([0.4] * len(weak), pa.float32())])
    show = partial(
        task.show_cases, SplitPredictions(weak, snapshot, "test", tmp_path), SHOW, choice="worst", limit=5
    )
    case = show(min_score=read_min_score(tmp_path))[0]
    assert (case.title, case.lines[1]) == ("2 missed, 0 false, 0 found", "boxes with a score of 0.50 or more")
    assert show(min_score=0.3) == []


def test_a_spread_shows_images_without_a_mistake_too(crowns, load, tmp_path):
    snapshot = load(crowns, tmp_path / "snapshot")
    rows = read_rows(snapshot, "test")
    task = build_task(crowns)
    cases = task.show_cases(
        SplitPredictions(perfect(rows), snapshot, "test", tmp_path), SHOW, choice="spread", limit=2
    )
    assert [case.lines[0] for case in cases] == [rows[0].id, rows[len(rows) // 2].id]
    assert cases[0].title.startswith("0 missed, 0 false")


def test_the_class_index_of_each_detector_is_the_data_sets(crowns, load, build_parts, inputs_of, tmp_path):
    """Faster R-CNN counts a background class; the others do not."""
    snapshot = load(crowns, tmp_path / "snapshot")
    head = crowns.head.model_copy(update={"kind": "faster_rcnn"})
    spec = crowns.model_copy(update={"head": head})
    task, parts = build_parts(spec, snapshot)
    losses = task.build_losses(snapshot)
    inputs = inputs_of(spec, snapshot, parts, "train", tmp_path)
    batch = next(iter(inputs.batches))
    parts.model.train()
    assert set(losses(parts.model, batch)) == {
        "loss_classifier",
        "loss_box_reg",
        "loss_objectness",
        "loss_rpn_box_reg",
    }
    labels = [n for target in batch.targets for n in target["labels"].tolist()]
    assert set(labels) <= {0, 1}
    parts.model.eval()
    table = task.predict(parts.model, inputs)
    assert set(table["label"].to_pylist()) <= {"red", "green"}


def test_the_predictions_file_is_what_pycocotools_measures(crowns, load, tmp_path):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    task, snapshot = build_task(crowns), load(crowns, tmp_path / "snapshot")
    rows = read_rows(snapshot, "test")
    random = np.random.default_rng(1)
    table = perfect(rows)
    moved = [
        row | {"x_min": row["x_min"] + 1.5, "score": float(random.random())} for row in table.to_pylist()
    ]
    table = pa.Table.from_pylist(moved, schema=SCHEMA)
    sizes = {row.id: (row.width, row.height) for row in rows}
    document = coco_document(task.output.placed, ImagePredictions(table, sizes, snapshot.classes, tmp_path))
    truth = json.loads((tmp_path / "crowns" / "test.json").read_text())
    numbers = {image["file_name"]: image["id"] for image in truth["images"]}
    names = {category["name"]: category["id"] for category in truth["categories"]}
    images = {image["id"]: numbers[image["file_name"]] for image in document["images"]}
    labels = {category["id"]: names[category["name"]] for category in document["categories"]}
    for annotation in document["annotations"]:
        annotation["image_id"] = images[annotation["image_id"]]
        annotation["category_id"] = labels[annotation["category_id"]]
    judge = COCO(str(tmp_path / "crowns" / "test.json"))
    (tmp_path / "found.json").write_text(json.dumps(document["annotations"]))
    measured = COCOeval(judge, judge.loadRes(str(tmp_path / "found.json")), "bbox")
    measured.evaluate(), measured.accumulate(), measured.summarize()
    predictions = SplitPredictions(table, snapshot, "test", tmp_path)
    ours = task.evaluate(predictions, resamples=0, seed=0)
    assert ours.metrics["map"].value == pytest.approx(measured.stats[0], abs=1e-3)
    assert 0 < ours.metrics["map"].value < 1
