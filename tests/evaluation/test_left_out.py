from __future__ import annotations

import numpy as np
import pytest

from transferflow.evaluation.classification.measure import evaluate_classification
from transferflow.evaluation.left_out import say_left_out
from transferflow.evaluation.results import Evaluation, MetricValue
from transferflow.evaluation.segmentation.counts import count_mask
from transferflow.evaluation.segmentation.measure import evaluate_segmentation


def test_a_class_that_no_image_shows_is_named_beside_the_mean():
    nothing = np.zeros((4, 4), np.uint8)
    counts = [count_mask(nothing, nothing, 2, 255)]
    found = evaluate_segmentation(
        counts, ["sky", "tree"], metrics=["miou", "pixel_accuracy"], bootstrap=0, seed=0
    )
    assert found.metrics["miou"].reason == "mean over 1 of 2 classes; the images say nothing of 'tree'"
    assert found.metrics["pixel_accuracy"].reason == ""


def test_a_class_that_is_predicted_or_there_is_never_left_out():
    """Values of scikit-learn's `f1_score(average="macro")` and `balanced_accuracy_score`."""
    sklearn = pytest.importorskip("sklearn.metrics")
    truth = np.array([0, 0, 1, 1])
    scores = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.9, 0.05, 0.05], [0.7, 0.2, 0.1]])
    found = evaluate_classification(
        scores,
        truth,
        ["a", "b", "c"],
        metrics=["macro_f1", "balanced_accuracy"],
        multilabel=False,
        bootstrap=0,
        seed=0,
        specificity=0.9,
    ).metrics
    predicted = scores.argmax(axis=1)
    assert found["macro_f1"].value == pytest.approx(sklearn.f1_score(truth, predicted, average="macro"))
    assert found["macro_f1"].reason == ""
    assert "'c'" in found["balanced_accuracy"].reason


def test_the_reason_of_a_value_that_can_not_be_computed_stays():
    values = {"miou": MetricValue(float("nan"), reason="no pixel")}
    before = Evaluation(values, {"a": {"iou": float("nan")}}, 1)
    assert say_left_out(before, {"miou": "iou"}).metrics["miou"].reason == "no pixel"
