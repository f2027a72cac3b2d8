"""torchmetrics as judge of overlaps, a search over all pairs of pixels as judge of outlines."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from sklearn.metrics import accuracy_score, jaccard_score

from transferflow.errors import EvaluationError
from transferflow.evaluation.results import evaluation_to_json, load_evaluation
from transferflow.evaluation.segmentation.counts import BOUNDARY_SHARE, count_mask
from transferflow.evaluation.segmentation.measure import (
    build_segmentation_statistic,
    evaluate_segmentation,
    image_iou,
    segmentation_statistic,
)
from transferflow.spec.sections.metrics import SEGMENTATION

CLASSES = ("ground", "cell", "edge")
IGNORE = 255


def blobs(seed, shape=(48, 64), classes=3, shift=0.0):
    rng = np.random.default_rng(seed)
    fields = gaussian_filter(rng.normal(size=(classes, *shape)), (0, 6, 6))
    fields += shift * gaussian_filter(np.random.default_rng(seed + 999).normal(size=fields.shape), (0, 6, 6))
    return fields.argmax(axis=0).astype(np.uint8)


def pairs(images=6, ignored=True):
    found = []
    for seed in range(images):
        truth, predicted = blobs(seed), blobs(seed, shift=0.5)
        if ignored:
            truth[5:15, 5 + seed : 20] = IGNORE
        found.append((predicted, truth))
    return found


def evaluate(items, classes=CLASSES, bootstrap=0, metrics=SEGMENTATION.names):
    counts = [count_mask(p, t, len(classes), IGNORE) for p, t in items]
    return evaluate_segmentation(counts, classes, metrics=metrics, bootstrap=bootstrap, seed=0)


def test_overlap_equals_torchmetrics():
    items = pairs()
    got = evaluate(items)
    predicted = torch.tensor(np.stack([p for p, _ in items])).long()
    truth = torch.tensor(np.stack([t for _, t in items])).long()
    options = {"num_classes": 3, "ignore_index": IGNORE}
    iou = tm.multiclass_jaccard_index(predicted, truth, average="none", **options)
    dice = tm.multiclass_f1_score(predicted, truth, average="none", **options)
    accuracy = tm.multiclass_accuracy(predicted, truth, average="micro", **options)
    assert [got.per_class[c]["iou"] for c in CLASSES] == pytest.approx(iou.tolist())
    assert [got.per_class[c]["dice"] for c in CLASSES] == pytest.approx(dice.tolist())
    assert got.metrics["miou"].value == pytest.approx(float(iou.mean()))
    assert got.metrics["dice"].value == pytest.approx(float(dice.mean()))
    assert got.metrics["pixel_accuracy"].value == pytest.approx(float(accuracy))


def outline_by_hand(mask, valid):
    height, width = mask.shape
    points = []
    for y in range(height):
        for x in range(width):
            near = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
            inside = [(a, b) for a, b in near if 0 <= a < height and 0 <= b < width and valid[a, b]]
            if mask[y, x] and any(not mask[a, b] for a, b in inside):
                points.append((y, x))
    return np.array(points).reshape(-1, 2)


def test_boundary_f1_equals_a_search_over_all_pairs():
    items = pairs(3)
    reach = max(1, BOUNDARY_SHARE * math.hypot(48, 64))
    scores = []
    for c in range(3):
        near_true = near_found = true = found = 0
        for predicted, truth in items:
            valid = truth != IGNORE
            a = outline_by_hand((truth == c) & valid, valid)
            b = outline_by_hand((predicted == c) & valid, valid)
            distance = cdist(a, b)
            true, found = true + len(a), found + len(b)
            near_true += (distance.min(axis=1) <= reach).sum()
            near_found += (distance.min(axis=0) <= reach).sum()
        recall, precision = near_true / true, near_found / found
        scores.append(2 * precision * recall / (precision + recall))
    got = evaluate(items)
    assert [got.per_class[c]["boundary_f1"] for c in CLASSES] == pytest.approx(scores)
    assert got.metrics["boundary_f1"].value == pytest.approx(np.mean(scores))


def test_a_perfect_mask_is_one_everywhere():
    truth = blobs(1)
    got = evaluate([(truth, truth)], bootstrap=10)
    assert all(m.value == pytest.approx(1) for m in got.metrics.values())


def test_a_class_that_is_predicted_but_not_there_counts_as_zero():
    truth = np.zeros((20, 20), np.uint8)
    predicted = truth.copy()
    predicted[:5] = 1
    got = evaluate([(predicted, truth)])
    cell, edge = got.per_class["cell"], got.per_class["edge"]
    assert (cell["images"], cell["iou"], cell["dice"], cell["precision"]) == (0, 0, 0, 0)
    assert math.isnan(cell["recall"])
    assert all(math.isnan(edge[key]) for key in ("iou", "dice", "precision", "recall", "boundary_f1"))
    for metric, column in (("miou", "iou"), ("dice", "dice"), ("boundary_f1", "boundary_f1")):
        shown = [row[column] for row in got.per_class.values()]
        assert got.metrics[metric].value == pytest.approx(np.nanmean(shown))


def test_only_ignored_pixels_are_nan_with_the_reason():
    truth = np.full((9, 9), IGNORE, np.uint8)
    got = evaluate([(np.zeros_like(truth), truth)], bootstrap=10)
    assert math.isnan(got.metrics["miou"].value)
    assert "no pixel" in got.metrics["miou"].reason


def test_masks_without_any_outline_leave_only_that_metric_out():
    truth = np.zeros((9, 9), np.uint8)
    got = evaluate([(truth, truth)])
    assert math.isnan(got.metrics["boundary_f1"].value)
    assert got.metrics["miou"].value == 1


def test_intervals_equal_a_plain_loop():
    items = pairs(10)
    got = evaluate(items, bootstrap=200)
    counts = [count_mask(p, t, 3, IGNORE).confusion for p, t in items]
    rng = np.random.default_rng(0)
    values = []
    for _ in range(200):
        matrix = sum(counts[i] for i in rng.integers(0, 10, 10))
        hits = np.diag(matrix)
        values.append((hits / (matrix.sum(0) + matrix.sum(1) - hits)).mean())
    metric = got.metrics["miou"]
    assert (metric.low, metric.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_the_statistic_of_one_metric_and_the_value_of_each_image():
    counts = [count_mask(p, t, 3, IGNORE) for p, t in pairs()]
    single = segmentation_statistic(counts, "dice")(np.ones((2, 6)))
    assert single == pytest.approx([evaluate(pairs()).metrics["dice"].value] * 2)
    alone = [evaluate([item]).metrics["miou"].value for item in pairs()]
    assert image_iou(counts) == pytest.approx(alone)


def test_pooled_values_of_any_draw_equal_scikit_learns():
    items = [(p, t) for p, t in pairs(3, ignored=False)]
    statistic = build_segmentation_statistic(
        [count_mask(p, t, 3, IGNORE) for p, t in items], ["pixel_accuracy", "miou"]
    )
    draws = np.array([[1.0, 1, 1], [3, 0, 0], [0, 1, 2]])
    expected = []
    for draw in draws.astype(int):
        drawn = [item for item, times in zip(items, draw, strict=True) for _ in range(times)]
        predicted, truth = (
            np.concatenate([side.ravel() for side in sides]) for sides in zip(*drawn, strict=True)
        )
        overlap = jaccard_score(truth, predicted, average="macro", labels=np.unique([truth, predicted]))
        expected.append([accuracy_score(truth, predicted), overlap])
    assert statistic(draws) == pytest.approx(np.array(expected))


def test_curves_are_plain_json():
    evaluation = evaluate(pairs())
    curves = evaluation.curves
    assert load_evaluation(evaluation_to_json(evaluation)).curves == curves
    assert sum(curves.image_iou.count) == 6
    pixels = sum((t != IGNORE).sum() for _, t in pairs())
    assert np.sum(curves.confusion.counts) == pixels


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        (np.zeros((3, 3), np.uint8), np.zeros((3, 4), np.uint8), "another size"),
        (np.full((3, 3), 7, np.uint8), np.zeros((3, 3), np.uint8), "prediction holds a value"),
        (np.zeros((3, 3), np.uint8), np.full((3, 3), 9, np.uint8), "truth holds a value"),
    ],
)
def test_broken_masks_are_refused(predicted, truth, message):
    with pytest.raises(EvaluationError, match=message):
        count_mask(predicted, truth, 3, IGNORE)


def test_unknown_metrics_and_empty_splits_are_refused():
    with pytest.raises(EvaluationError, match="no such segmentation metric"):
        evaluate(pairs(1), metrics=["map"])
    with pytest.raises(EvaluationError, match="no image"):
        evaluate([])
