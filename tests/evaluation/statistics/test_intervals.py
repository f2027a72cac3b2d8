"""Intervals of shares at their edge, held against scipy's exact binomial ones."""

import numpy as np
import pytest
from scipy.stats import binomtest

from transferflow.evaluation.statistics.bootstrap import ratio
from transferflow.evaluation.statistics.intervals import edge_interval, metric_values


@pytest.mark.parametrize("units", [1, 3, 40, 1000])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("share", [0, 1])
def test_the_edge_is_that_of_clopper_and_pearson(units, confidence, share):
    exact = binomtest(share * units, units).proportion_ci(confidence, method="exact")
    assert edge_interval(share, units, confidence) == pytest.approx((exact.low, exact.high))


def values(right, clusters=None, among=None):
    among = np.ones(len(right), bool) if among is None else among

    def statistic(weights):
        found = ratio(weights @ (right & among), weights @ among.astype(float))
        return np.stack([found, found], axis=1)

    names = ("accuracy", "other")
    run = {"undefined": "", "clusters": clusters, "shares": {"accuracy": among}}
    return metric_values(statistic, names, len(right), 200, 0, **run)


def test_three_right_images_are_no_certainty():
    found = values(np.ones(3, bool))
    exact = binomtest(3, 3).proportion_ci(method="exact")
    assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx((exact.low, exact.high))
    assert (found["other"].low, found["other"].high) == (1.0, 1.0)


def test_images_of_a_cluster_are_one_piece_of_evidence():
    found = values(np.zeros(30, bool), clusters=np.repeat(np.arange(10), 3))["accuracy"]
    exact = binomtest(0, 10).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def test_a_share_is_one_of_the_images_that_it_is_of():
    found = values(np.ones(30, bool), among=np.arange(30) < 4)["accuracy"]
    assert found.low == pytest.approx(binomtest(4, 4).proportion_ci(method="exact").low)


def test_a_share_between_keeps_its_resamples():
    found = values(np.arange(40) < 30)["accuracy"]
    assert found.value == 0.75
    assert 0.55 < found.low < 0.7 < 0.8 < found.high < 0.9
