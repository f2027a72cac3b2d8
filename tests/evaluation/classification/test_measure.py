"""Golden values from scikit-learn and torchmetrics; odd test sets; speed."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from transferflow.errors import EvaluationError
from transferflow.evaluation.classification.measure import evaluate_classification
from transferflow.spec.sections.metrics import MULTI_LABEL, SINGLE_LABEL

CLASSES = ("ant", "bee", "cat", "dog")


def sample(images, classes, seed=0, strength=1.5):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, images)
    logits = rng.normal(size=(images, classes))
    logits[np.arange(images), targets] += strength
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), targets


def evaluate(probabilities, targets, classes, **changes):
    settings = {
        "metrics": SINGLE_LABEL.names,
        "multilabel": False,
        "bootstrap": 0,
        "seed": 0,
        "specificity": 0.9,
    }
    return evaluate_classification(probabilities, targets, classes, **{**settings, **changes})


def values(evaluation):
    return {name: m.value for name, m in evaluation.metrics.items()}


def test_single_label_metrics_equal_scikit_learn_and_torchmetrics():
    p, y = sample(300, 4)
    got = values(evaluate(p, y, CLASSES))
    predicted = p.argmax(1)
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(y, predicted))
    assert got["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, predicted))
    assert got["macro_f1"] == pytest.approx(sk.f1_score(y, predicted, average="macro"))
    assert got["auroc"] == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"))
    tp, ty = torch.tensor(p), torch.tensor(y)
    ece = tm.multiclass_calibration_error(tp, ty, num_classes=4, n_bins=15, norm="l1")
    assert got["ece"] == pytest.approx(float(ece), abs=1e-6)
    best, _ = tm.multiclass_sensitivity_at_specificity(tp, ty, num_classes=4, min_specificity=0.9)
    assert got["sensitivity_at_specificity"] == pytest.approx(float(best.mean()), abs=1e-6)


def test_binary_metrics_rank_the_second_class():
    p, y = sample(200, 2)
    got = values(evaluate(p, y, CLASSES[:2]))
    assert got["auroc"] == pytest.approx(sk.roc_auc_score(y, p[:, 1]))
    best, _ = tm.binary_sensitivity_at_specificity(torch.tensor(p[:, 1]), torch.tensor(y), 0.9)
    assert got["sensitivity_at_specificity"] == pytest.approx(float(best), abs=1e-6)


def test_multilabel_metrics_equal_torchmetrics():
    rng = np.random.default_rng(1)
    y = rng.random((250, 4)) < [0.5, 0.2, 0.1, 0.7]
    p = np.clip(y * 0.3 + rng.random((250, 4)) * 0.7, 0, 1)
    got = values(evaluate(p, y, CLASSES, multilabel=True, metrics=MULTI_LABEL.names))
    tp, ty = torch.tensor(p), torch.tensor(y.astype(int))
    for name, golden in {
        "auroc": tm.multilabel_auroc(tp, ty, 4),
        "average_precision": tm.multilabel_average_precision(tp, ty, 4),
        "macro_f1": tm.multilabel_f1_score(tp, ty, 4),
        "accuracy": tm.multilabel_accuracy(tp, ty, 4),
        "ece": tm.binary_calibration_error(tp.ravel(), ty.ravel(), n_bins=15),
    }.items():
        assert got[name] == pytest.approx(float(golden), abs=1e-6), name


@settings(max_examples=40, deadline=None)
@given(scores=st.lists(st.integers(0, 5), min_size=8, max_size=40), seed=st.integers(0, 99))
def test_ties_count_as_scikit_learn_counts_them(scores, seed):
    positive = np.array(scores) / 5
    y = np.random.default_rng(seed).integers(0, 2, len(scores))
    y[:2] = 0, 1
    got = values(evaluate(np.stack([1 - positive, positive], 1), y, CLASSES[:2], metrics=["auroc"]))
    assert got["auroc"] == pytest.approx(sk.roc_auc_score(y, positive))
    two = evaluate(
        np.stack([positive] * 2, 1),
        np.stack([y] * 2, 1),
        ("a", "b"),
        multilabel=True,
        metrics=["average_precision"],
    )
    assert values(two)["average_precision"] == pytest.approx(sk.average_precision_score(y, positive))


def test_per_class_table_equals_scikit_learn():
    p, y = sample(200, 4)
    table = evaluate(p, y, CLASSES).per_class
    precision, recall, f1, support = sk.precision_recall_fscore_support(y, p.argmax(1))
    for c, name in enumerate(CLASSES):
        row = table[name]
        assert row["support"] == support[c]
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx((precision[c], recall[c], f1[c]))
        assert row["auroc"] == pytest.approx(sk.roc_auc_score(y == c, p[:, c]))


def test_a_class_without_images_is_nan_and_left_out_of_the_means():
    p, y = sample(100, 3)
    p = np.hstack([p * 0.9, np.full((100, 1), 0.1)])
    evaluation = evaluate(p, y, CLASSES, bootstrap=50)
    row = evaluation.per_class["dog"]
    assert row["support"] == 0
    assert all(math.isnan(row[key]) for key in ("precision", "recall", "f1", "auroc"))
    assert evaluation.metrics["balanced_accuracy"].value == pytest.approx(
        sk.balanced_accuracy_score(y, p.argmax(1))
    )
    assert evaluation.metrics["auroc"].value == pytest.approx(
        np.mean([sk.roc_auc_score(y == c, p[:, c]) for c in range(3)])
    )


def test_the_table_shows_what_the_means_count():
    """A class that is predicted but not there is 0; scikit-learn judges."""
    truth, said = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    evaluation = evaluate(np.eye(4)[said], truth, CLASSES)
    rows = evaluation.per_class
    assert (rows["cat"]["precision"], rows["cat"]["f1"], rows["cat"]["support"]) == (0, 0, 0)
    assert math.isnan(rows["cat"]["recall"])
    assert math.isnan(rows["dog"]["f1"])
    assert evaluation.metrics["macro_f1"].value == pytest.approx(np.nanmean([r["f1"] for r in rows.values()]))
    assert evaluation.metrics["macro_f1"].value == pytest.approx(sk.f1_score(truth, said, average="macro"))


def test_one_class_in_the_split_gives_nan_with_the_reason():
    p, _ = sample(20, 2)
    evaluation = evaluate(p, np.zeros(20, int), CLASSES[:2], bootstrap=20)
    auroc = evaluation.metrics["auroc"]
    assert math.isnan(auroc.value)
    assert auroc.low is None
    assert "one class (ant)" in auroc.reason
    assert math.isnan(evaluation.metrics["sensitivity_at_specificity"].value)
    assert 0 <= evaluation.metrics["accuracy"].value <= 1
    assert evaluation.curves.roc == []
    assert evaluation.curves.delong is None


def test_one_image_is_enough():
    evaluation = evaluate(np.array([[0.2, 0.8]]), np.array([1]), CLASSES[:2], bootstrap=20)
    assert evaluation.metrics["accuracy"].value == 1


def test_bootstrap_interval_equals_a_plain_loop():
    p, y = sample(80, 3, strength=1)
    got = evaluate(p, y, CLASSES[:3], bootstrap=400, seed=7)
    rng = np.random.default_rng(7)
    accuracy, area = [], []
    for _ in range(400):
        i = rng.integers(0, 80, 80)
        accuracy.append(sk.accuracy_score(y[i], p[i].argmax(1)))
        area.append(sk.roc_auc_score(y[i], p[i], multi_class="ovr"))
    for name, loop in (("accuracy", accuracy), ("auroc", area)):
        metric = got.metrics[name]
        assert (metric.low, metric.high) == pytest.approx(tuple(np.quantile(loop, [0.025, 0.975])))


def test_intervals_repeat_with_the_seed_and_do_not_depend_on_the_chunk_size(monkeypatch):
    p, y = sample(60, 3)
    first = evaluate(p, y, CLASSES[:3], bootstrap=100, seed=3)
    monkeypatch.setattr("transferflow.evaluation.statistics.bootstrap.CHUNK_ELEMENTS", 700)
    assert evaluate(p, y, CLASSES[:3], bootstrap=100, seed=3).metrics == first.metrics
    assert evaluate(p, y, CLASSES[:3], bootstrap=100, seed=4).metrics != first.metrics


def test_a_thousand_resamples_of_a_thousand_images_take_seconds():
    p, y = sample(1000, 10)
    start = time.perf_counter()
    evaluate(p, y, [str(c) for c in range(10)], bootstrap=1000)
    assert time.perf_counter() - start < 5


def test_curves_are_json_with_the_golden_confusion_matrix():
    p, y = sample(150, 4)
    curves = evaluate(p, y, CLASSES).curves
    assert curves.confusion.counts == sk.confusion_matrix(y, p.argmax(1)).tolist()
    worst = curves.confused[0]
    t, q = CLASSES.index(worst.truth), CLASSES.index(worst.predicted)
    assert worst.images == curves.confusion.counts[t][q]
    bins = curves.reliability
    assert sum(bins.count) == 150
    error = sum(
        n * abs(a - c) for n, a, c in zip(bins.count, bins.accuracy, bins.confidence, strict=True) if n
    )
    assert error / 150 == pytest.approx(values(evaluate(p, y, CLASSES))["ece"])


def test_operating_point_holds_on_the_data():
    p, y = sample(400, 2)
    point = evaluate(p, y, CLASSES[:2]).curves.operating_points[0]
    positive = p[:, 1] >= point.threshold
    assert point.name == "bee"
    assert point.sensitivity == pytest.approx(positive[y == 1].mean())
    assert point.specificity == pytest.approx((~positive[y == 0]).mean())
    assert point.specificity >= 0.9
    assert point.low < point.sensitivity < point.high


def test_many_classes_keep_the_worst_curves_only():
    p, y = sample(600, 250)
    curves = evaluate(p, y, [f"class {c}" for c in range(250)]).curves
    assert curves.confusion is None
    assert len(curves.roc) == 12


@pytest.mark.parametrize(
    ("probabilities", "targets", "changes", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), {}, "no image to evaluate"),
        (np.zeros((3, 3)), np.zeros(3, int), {}, "do not fit"),
        (np.full((3, 2), np.nan), np.zeros(3, int), {}, "not all between 0 and 1"),
        (np.full((3, 2), 1.2), np.zeros(3, int), {}, "not all between 0 and 1"),
        (np.full((3, 2), 0.5), np.full(3, 2), {}, "class that does not exist"),
        (np.full((3, 2), 0.5), np.zeros(3), {"multilabel": True}, "wrong shape"),
        (np.full((3, 2), 0.5), np.zeros(3, int), {"metrics": ["map"]}, "no such classification metric"),
    ],
)
def test_broken_input_is_refused(probabilities, targets, changes, message):
    with pytest.raises(EvaluationError, match=message):
        evaluate(probabilities, targets, CLASSES[:2], **changes)
