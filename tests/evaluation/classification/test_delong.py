"""The fast algorithm against DeLong's definition, computed pair by pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from transferflow.evaluation.classification.delong import (
    delong_covariance,
    delong_difference,
    delong_interval,
)


def by_definition(scores, truth):
    components = []
    for row in scores:
        x, y = row[truth], row[~truth]
        psi = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])
        components.append((psi.mean(1), psi.mean(0)))
    v10 = np.cov([c[0] for c in components])
    v01 = np.cov([c[1] for c in components])
    return v10 / truth.sum() + v01 / (~truth).sum()


@pytest.mark.parametrize("seed", range(4))
def test_covariance_equals_the_definition(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random(90) < 0.3
    scores = (rng.normal(size=(3, 90)) + truth).round(1)  # with ties
    value, covariance = delong_covariance(scores, truth)
    assert value == pytest.approx([roc_auc_score(truth, row) for row in scores])
    assert covariance == pytest.approx(by_definition(scores, truth))


def test_interval_covers_the_true_value_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    true_value = 0.5 * (1 + math.erf(1 / 2))  # P(X > Y) for unit normals one apart
    hits = 0
    for _ in range(300):
        truth = np.arange(120) < 50
        interval = delong_interval(rng.normal(size=120) + truth, truth)
        hits += interval.low <= true_value <= interval.high
    assert 0.91 <= hits / 300 <= 0.985


@pytest.mark.parametrize("positives", [0, 1, 9, 10])
def test_too_few_of_a_kind_is_nan(positives):
    truth = np.arange(10) < positives
    assert math.isnan(delong_interval(np.linspace(0, 1, 10), truth).value)


@pytest.mark.parametrize("seed", range(3))
def test_the_difference_is_tested_as_by_the_definition(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random(120) < 0.4
    shared = rng.normal(size=120)
    scores = np.stack([shared + rng.normal(size=120) + gain * truth for gain in (1.0, 1.6)])
    found = delong_difference(*scores, truth, 0.95)
    covariance = by_definition(scores, truth)
    deviation = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    gain = roc_auc_score(truth, scores[1]) - roc_auc_score(truth, scores[0])
    assert found.p_value == pytest.approx(2 * norm.sf(abs(gain) / deviation))
    expected = norm.interval(0.95, gain, deviation)
    assert (found.low, found.high) == pytest.approx(expected)


def test_equal_models_are_told_apart_about_as_often_as_chance_allows():
    rng, found = np.random.default_rng(0), []
    truth = np.arange(200) % 2 == 1
    for _ in range(400):
        shared = rng.normal(size=200) + truth
        scores = [shared + rng.normal(size=200) for _ in range(2)]
        found.append(delong_difference(*scores, truth, 0.95).p_value < 0.05)
    assert 0.025 < np.mean(found) < 0.08


def test_one_ranking_has_no_difference_to_test():
    truth, scores = np.array([True, True, False, False]), np.array([0.9, 0.4, 0.5, 0.1])
    assert delong_difference(scores, 2 * scores, truth, 0.95) is None
    assert delong_difference(scores, -scores, truth[[0, 2, 2, 3]], 0.95) is None
