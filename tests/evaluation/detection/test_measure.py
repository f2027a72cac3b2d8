"""pycocotools and faster-coco-eval as judges; odd images; intervals against re-evaluated resamples."""

from __future__ import annotations

import contextlib
import io
import json
import math
import time
from dataclasses import replace

import faster_coco_eval
import numpy as np
import pyarrow as pa
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from transferflow.data.records import Box
from transferflow.errors import EvaluationError
from transferflow.evaluation.detection import statistics
from transferflow.evaluation.detection.matching import ImageTruth
from transferflow.evaluation.detection.measure import count_mistakes, detection_statistic, evaluate_detection
from transferflow.evaluation.results import evaluation_to_json, load_evaluation
from transferflow.evaluation.statistics.bootstrap import resample_weights
from transferflow.spec.sections.metrics import DETECTION

CLASSES = ("tree", "shrub", "car")
COLUMNS = ("id", "label", "score", "x_min", "y_min", "x_max", "y_max")
STATS = ("map", "map50", "map75", "map_small", "map_medium", "map_large")


def table(rows):
    return pa.table({name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)})


def scene(images=12, seed=0, classes=CLASSES, extra=6, crowds=True, levels=20):
    """Images with true boxes of all sizes and predictions near and far; scores tie often."""
    rng = np.random.default_rng(seed)
    truths, rows = [], []
    for number in range(images):
        name, boxes = f"img{number:03}", []
        for _ in range(rng.integers(0, 6)):
            x, y = rng.random(2) * 300
            w, h = np.exp(rng.uniform(1, 5.3, 2))
            label = str(rng.choice(classes))
            boxes.append(Box(x, y, x + w, y + h, label, crowd=bool(crowds and rng.random() < 0.15)))
            for _ in range(rng.integers(0, 3)):
                dx, dy, dw, dh = rng.normal(size=4) * 0.12 * np.array([w, h, w, h])
                guess = str(rng.choice(classes)) if rng.random() < 0.1 else label
                score = rng.integers(1, levels) / levels
                x0, y0 = x + dx, y + dy
                rows.append((name, guess, score, x0, y0, x0 + max(w + dw, 1), y0 + max(h + dh, 1)))
        for _ in range(rng.integers(0, extra)):
            x, y, w, h = rng.random(4) * 150 + 1
            rows.append(
                (name, str(rng.choice(classes)), rng.integers(1, levels) / levels, x, y, x + w, y + h)
            )
        truths.append(ImageTruth(name, tuple(boxes)))
    return truths, rows


def coco_json(truths, rows, classes=CLASSES):
    ids = {truth.id: i + 1 for i, truth in enumerate(truths)}
    annotations = [
        {
            "image_id": ids[truth.id],
            "category_id": classes.index(box.label) + 1,
            "bbox": [box.x_min, box.y_min, box.x_max - box.x_min, box.y_max - box.y_min],
            "area": box.area or (box.x_max - box.x_min) * (box.y_max - box.y_min),
            "iscrowd": int(box.crowd),
        }
        for truth in truths
        for box in truth.boxes
    ]
    dataset = {
        "info": {},
        "images": [{"id": i, "width": 640, "height": 640} for i in ids.values()],
        "categories": [{"id": c + 1, "name": name} for c, name in enumerate(classes)],
        "annotations": [{**a, "id": n + 1} for n, a in enumerate(annotations)],
    }
    found = [
        {
            "image_id": ids[row[0]],
            "category_id": classes.index(row[1]) + 1,
            "score": row[2],
            "bbox": [row[3], row[4], row[5] - row[3], row[6] - row[4]],
        }
        for row in rows
    ]
    return dataset, found


def pycocotools_stats(truths, rows, classes=CLASSES):
    dataset, found = coco_json(truths, rows, classes)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


def evaluate(truths, rows, classes=CLASSES, bootstrap=0, metrics=DETECTION.names):
    return evaluate_detection(table(rows), truths, classes, metrics=metrics, bootstrap=bootstrap, seed=0)


@pytest.mark.parametrize("seed", range(8))
def test_metrics_equal_pycocotools(seed):
    truths, rows = scene(seed=seed)
    judge = pycocotools_stats(truths, rows)
    got = evaluate(truths, rows)
    for name, expected in zip((*STATS, "average_recall"), judge.stats[[0, 1, 2, 3, 4, 5, 8]], strict=True):
        value = got.metrics[name].value
        assert math.isnan(value) if expected == -1 else value == pytest.approx(expected, abs=1e-12), name
    for c, name in enumerate(CLASSES):
        precision = judge.eval["precision"][:, :, c, 0, 2]
        assert got.per_class[name]["ap"] == pytest.approx(precision.mean(), abs=1e-12)
        assert got.per_class[name]["ap50"] == pytest.approx(precision[0].mean(), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_objects_are_sorted_into_sizes_by_their_own_area_as_in_pycocotools(seed):
    truths, rows = scene(30, seed=seed)
    rng = np.random.default_rng(seed)
    slim = [
        ImageTruth(t.id, tuple(replace(b, area=b.object_area * rng.uniform(0.3, 2)) for b in t.boxes))
        for t in truths
    ]
    judge = pycocotools_stats(slim, rows)
    got = evaluate(slim, rows)
    for name, expected in zip(STATS, judge.stats, strict=False):
        value = got.metrics[name].value
        assert math.isnan(value) if expected == -1 else value == pytest.approx(expected, abs=1e-12), name
    assert got.metrics["map_small"].value != evaluate(truths, rows).metrics["map_small"].value


def test_metrics_equal_faster_coco_eval(tmp_path):
    truths, rows = scene(30, seed=3)
    dataset, found = coco_json(truths, rows)
    (tmp_path / "truth.json").write_text(json.dumps(dataset))
    truth = faster_coco_eval.COCO(str(tmp_path / "truth.json"))
    judge = faster_coco_eval.COCOeval_faster(
        truth, truth.loadRes(found), "bbox", print_function=lambda *_: None
    )
    judge.run()
    got = evaluate(truths, rows)
    for name, expected in zip(STATS, judge.stats[:6], strict=True):
        assert got.metrics[name].value == pytest.approx(expected, abs=1e-12)


def test_more_than_a_hundred_boxes_an_image_are_cut_as_pycocotools_cuts_them():
    truths, rows = scene(2, seed=1, classes=("tree",), extra=400, levels=1000)
    assert max(sum(row[0] == t.id for row in rows) for t in truths) > 100
    judge = pycocotools_stats(truths, rows, ("tree",))
    got = evaluate(truths, rows, ("tree",))
    assert got.metrics["map"].value == pytest.approx(judge.stats[0], abs=1e-12)


def test_a_resample_equals_pycocotools_on_copied_images():
    truths, rows = scene(8, seed=5, levels=10**9)  # no ties: their order is arbitrary in any case
    names = ("map", "map50", "map_medium", "average_recall")
    measured = {name: detection_statistic(table(rows), truths, CLASSES, name) for name in names}
    weights = next(resample_weights(8, 4, 0))
    for row in weights:
        copies = [(truth, n) for truth, times in zip(truths, row, strict=True) for n in range(int(times))]
        again = [ImageTruth(f"{truth.id}-{n}", truth.boxes) for truth, n in copies]
        found = [(f"{truth.id}-{n}", *r[1:]) for truth, n in copies for r in rows if r[0] == truth.id]
        stats = pycocotools_stats(again, found).stats
        for name, place in zip(names, (0, 1, 4, 8), strict=True):
            assert measured[name](row[None])[0] == pytest.approx(stats[place], abs=1e-12)


def test_a_recall_that_is_met_to_the_point_counts_as_in_pycocotools():
    """100 true boxes: each of the 101 recalls is a whole number of them, and some are a rounding below."""
    rng = np.random.default_rng(0)
    sides = np.array([0.0, 0.0, 20.0, 20.0])
    truths = [ImageTruth(str(n), tuple(Box(*(sides + 30 * k), "tree") for k in range(10))) for n in range(10)]
    rows = [(t.id, "tree", rng.random(), b.x_min, b.y_min, b.x_max, b.y_max) for t in truths for b in t.boxes]
    rows += [(str(n), "tree", rng.random(), *(sides + 400 + 30 * k)) for n in range(10) for k in range(9)]
    judge = pycocotools_stats(truths, rows, ("tree",))
    got = evaluate(truths, rows, ("tree",))
    assert got.metrics["map"].value == pytest.approx(judge.stats[0], abs=1e-12)


def test_resamples_in_parts_are_the_resamples(monkeypatch):
    truths, rows = scene(30, seed=4)
    measured = detection_statistic(table(rows), truths, CLASSES, "map")
    weights = next(resample_weights(30, 3 * statistics.LEAST_ROWS + 1, 0))
    whole = measured(weights)
    monkeypatch.setattr(statistics, "BLOCK_ELEMENTS", 1)
    assert np.array_equal(measured(weights), whole)
    assert np.allclose([measured(row[None])[0] for row in weights], whole, rtol=0, atol=1e-15)


def test_intervals_hold_the_value_and_come_quickly():
    truths, rows = scene(150, seed=2, extra=40)
    start = time.perf_counter()
    got = evaluate(truths, rows, bootstrap=300)
    assert time.perf_counter() - start < 20
    for name in ("map", "map50", "average_recall"):
        metric = got.metrics[name]
        assert metric.low < metric.value < metric.high


def test_no_prediction_at_all_is_zero():
    truths, _ = scene()
    got = evaluate(truths, [], bootstrap=20)
    assert got.metrics["map"].value == 0
    assert got.metrics["average_recall"].value == 0
    assert got.curves.precision_recall[0].precision == [0.0]


def test_no_true_box_at_all_is_nan_with_the_reason():
    got = evaluate([ImageTruth("a", ())], [("a", "tree", 0.9, 0, 0, 5, 5)], bootstrap=20)
    assert math.isnan(got.metrics["map"].value)
    assert "no true box" in got.metrics["map"].reason
    assert got.curves.precision_recall == []


def test_a_class_without_test_boxes_is_nan_and_left_out_of_the_mean():
    box = Box(0, 0, 20, 20, "tree")
    got = evaluate(
        [ImageTruth("a", (box,))], [("a", "tree", 0.9, 0, 0, 20, 20), ("a", "car", 0.9, 0, 0, 9, 9)]
    )
    assert got.per_class["car"]["objects"] == 0
    assert math.isnan(got.per_class["car"]["ap"])
    assert got.metrics["map"].value == pytest.approx(1)
    assert math.isnan(got.metrics["map_large"].value)


def test_a_box_of_one_pixel_counts():
    box = Box(7, 7, 8, 8, "tree")
    got = evaluate([ImageTruth("a", (box,))], [("a", "tree", 0.5, 7, 7, 8, 8)])
    assert got.metrics["map"].value == pytest.approx(1)
    assert got.curves.sizes.objects == [1, 0, 0]


def test_curves_are_plain_json_and_the_best_threshold_is_best():
    truths, rows = scene(40, seed=4, crowds=False)
    evaluation = evaluate(truths, rows)
    assert load_evaluation(evaluation_to_json(evaluation)).curves == evaluation.curves
    sweep = evaluation.curves.thresholds
    best = sweep.score.index(round(sweep.best, 4))
    assert sweep.f1[best] == max(sweep.f1)
    mistakes = count_mistakes(table(rows), truths, CLASSES, sweep.best)
    found, missed, false = (sum(getattr(m, key) for m in mistakes) for key in ("found", "missed", "false"))
    assert found / (found + missed) == pytest.approx(sweep.recall[best])
    assert found / (found + false) == pytest.approx(sweep.precision[best])
    assert found + missed == sum(len(t.boxes) for t in truths)


@pytest.mark.parametrize(
    ("rows", "metrics", "message"),
    [
        ([("zzz", "tree", 0.5, 0, 0, 1, 1)], ["map"], "the truth has not"),
        ([("a", "ufo", 0.5, 0, 0, 1, 1)], ["map"], "the truth has not"),
        ([("a", "tree", float("nan"), 0, 0, 1, 1)], ["map"], "not finite"),
        ([], ["accuracy"], "no such detection metric"),
    ],
)
def test_broken_input_is_refused(rows, metrics, message):
    with pytest.raises(EvaluationError, match=message):
        evaluate([ImageTruth("a", ())], rows, metrics=metrics)


def test_no_image_is_refused():
    with pytest.raises(EvaluationError, match="no image"):
        evaluate([], [])
