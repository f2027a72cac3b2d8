"""The fast algorithm against DeLong's definition, computed pair by pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from transferflow.evaluation.classification.delong import delong_covariance, delong_interval


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
