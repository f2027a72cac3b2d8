"""Thresholds held against scikit-learn's curves."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_curve, roc_curve

from transferflow.evaluation.classification.operating import choose_threshold


@pytest.fixture(params=range(6))
def sample(request):
    """Scores and truth; some with many ties."""
    random = np.random.default_rng(request.param)
    truth = random.random(80) < 0.3
    scores = np.clip(random.normal(0.4 + 0.2 * truth, 0.2), 0, 1)
    return (scores.round(1) if request.param % 2 else scores), truth


@pytest.mark.parametrize("least", [0.5, 0.8, 0.95])
def test_sensitivity_is_met_at_the_best_specificity(sample, least):
    scores, truth = sample
    said = scores >= choose_threshold(scores, truth, "sensitivity", least)
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert said[truth].mean() >= least
    assert said[~truth].mean() == pytest.approx(false[true >= least - 1e-12].min())


@pytest.mark.parametrize("least", [0.5, 0.8, 0.95])
def test_specificity_is_met_at_the_best_sensitivity(sample, least):
    scores, truth = sample
    said = scores >= choose_threshold(scores, truth, "specificity", least)
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert 1 - said[~truth].mean() >= least - 1e-12
    assert said[truth].mean() == pytest.approx(true[1 - false >= least - 1e-12].max())


def test_the_largest_f1_is_found(sample):
    scores, truth = sample
    said = scores >= choose_threshold(scores, truth, "f1", 0.0)
    precision, recall, _ = precision_recall_curve(truth, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    assert f1_score(truth, said) == pytest.approx(f1.max())


def test_the_threshold_lies_between_two_scores():
    scores, truth = np.array([0.9, 0.6, 0.4, 0.2]), np.array([True, True, False, False])
    assert choose_threshold(scores, truth, "f1", 0.0) == pytest.approx(0.5)
    assert choose_threshold(scores, truth, "specificity", 0.5) == pytest.approx(0.3)


def test_without_one_of_both_kinds_there_is_none():
    assert choose_threshold(np.array([0.1, 0.9]), np.array([True, True]), "f1", 0.0) is None
    assert choose_threshold(np.array([0.1, 0.9]), np.array([False, False]), "f1", 0.0) is None
