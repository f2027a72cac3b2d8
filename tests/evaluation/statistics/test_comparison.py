"""The paired comparison against a plain loop, and its error rate when nothing differs."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from transferflow.errors import EvaluationError
from transferflow.evaluation.classification.statistics import build_sample, build_statistic
from transferflow.evaluation.statistics.comparison import _p_value, compare_paired


def statistic(scores, truth, metric):
    sample = build_sample(np.stack([1 - scores, scores], 1), truth, 2, multilabel=False)
    inner = build_statistic(sample, [metric], 0.9)
    return lambda weights: inner(weights)[:, 0]


def scores(truth, noise, seed):
    shared = np.random.default_rng(99).normal(size=truth.size)
    own = np.random.default_rng(seed).normal(size=truth.size)
    return 1 / (1 + np.exp(-(2 * truth - 1 + 1.2 * shared + noise * own)))


def test_difference_and_interval_equal_a_plain_loop():
    truth = np.arange(150) % 2
    old, new = scores(truth, 1.0, 1), scores(truth, 0.2, 2)
    got = compare_paired(
        statistic(old, truth, "auroc"), statistic(new, truth, "auroc"), images=150, resamples=300, seed=5
    )
    rng = np.random.default_rng(5)
    gains = []
    for _ in range(300):
        i = rng.integers(0, 150, 150)
        gains.append(roc_auc_score(truth[i], new[i]) - roc_auc_score(truth[i], old[i]))
    assert (got.low, got.high) == pytest.approx(tuple(np.quantile(gains, [0.025, 0.975])))
    assert got.difference == pytest.approx(roc_auc_score(truth, new) - roc_auc_score(truth, old))
    assert got.difference == pytest.approx(got.challenger - got.champion)


def test_a_model_against_itself_is_a_draw():
    truth = np.arange(60) % 2
    same = statistic(scores(truth, 1.0, 1), truth, "accuracy")
    got = compare_paired(same, same, images=60, resamples=100, seed=0)
    assert (got.difference, got.low, got.high) == (0, 0, 0)


def test_pairing_finds_a_gain_that_separate_intervals_hide():
    rng = np.random.default_rng(0)
    right = rng.random(200) < 0.7
    better = right | (rng.random(200) < 0.15)

    def accuracy(hits):
        return lambda weights: (weights @ hits) / weights.sum(axis=1)

    got = compare_paired(accuracy(right), accuracy(better), images=200, resamples=1000, seed=0)
    assert got.low > 0
    separate = 1.96 * np.sqrt(0.7 * 0.3 / 200)
    assert got.difference < 2 * separate


def test_equal_models_are_called_better_about_as_often_as_the_confidence_says():
    rng = np.random.default_rng(3)
    calls = 0
    for trial in range(200):
        a, b = rng.random((2, 120)) < 0.8

        def accuracy(hits):
            return lambda weights: (weights @ hits) / weights.sum(axis=1)

        calls += compare_paired(accuracy(a), accuracy(b), images=120, resamples=200, seed=trial).low > 0
    assert calls / 200 <= 0.06


def test_an_undefined_metric_is_an_error():
    truth = np.zeros(30, int)
    undefined = statistic(scores(truth, 1, 0), truth, "auroc")
    with pytest.raises(EvaluationError, match="not defined on these test images"):
        compare_paired(undefined, undefined, images=30, resamples=10, seed=0)


def test_a_metric_that_most_resamples_lack_is_an_error():
    def rarely(weights):
        return np.where(weights[:, 0] == 1, 1.0, np.nan)

    with pytest.raises(EvaluationError, match="undefined in most resamples"):
        compare_paired(rarely, rarely, images=30, resamples=100, seed=0)


@pytest.mark.parametrize(("worse", "p_value"), [(0, 2 / 101), (3, 8 / 101), (50, 1.0), (97, 8 / 101)])
def test_the_p_value_counts_the_resamples_on_the_rarer_side(worse, p_value):
    """Davison and Hinkley, Bootstrap Methods (1997), eq. 4.11, for both sides."""
    gains = np.array([-1.0] * worse + [1.0] * (100 - worse))
    assert _p_value(gains) == pytest.approx(p_value)
