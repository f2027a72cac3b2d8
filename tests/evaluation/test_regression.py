"""scikit-learn as judge of errors in numbers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from transferflow.errors import EvaluationError
from transferflow.evaluation.regression import (
    DRAWN_IMAGES,
    build_regression_statistic,
    evaluate_regression,
)
from transferflow.evaluation.results import evaluation_to_json, load_evaluation
from transferflow.spec.sections.metrics import REGRESSION

JUDGES = {"mae": mean_absolute_error, "rmse": root_mean_squared_error, "r2": r2_score}


def numbers(images=40, offset=0.0, seed=0):
    random = np.random.default_rng(seed)
    truth = offset + random.normal(size=images) * 7
    return truth + random.standard_t(3, size=images), truth


@pytest.mark.parametrize("offset", [0.0, -50.0, 1e6])
def test_every_metric_of_every_resample_is_scikit_learns(offset):
    predicted, truth = numbers(offset=offset)
    random = np.random.default_rng(1)
    weights = np.stack([np.ones(40), *(np.bincount(random.integers(0, 40, 40), minlength=40) for _ in "abc")])
    found = build_regression_statistic(predicted, truth, REGRESSION.names)(weights.astype(float))
    for row, counts in zip(found, weights, strict=True):
        expected = [JUDGES[name](truth, predicted, sample_weight=counts) for name in REGRESSION.names]
        assert row == pytest.approx(expected)


def test_an_interval_holds_the_value_and_is_drawn_by_groups():
    predicted, truth = numbers()
    groups = [f"patient {n // 2}" for n in range(40)]
    run = {"metrics": REGRESSION.names, "bootstrap": 200, "seed": 0}
    one, whole = (evaluate_regression(predicted, truth, "age", groups=g, **run) for g in ((), groups))
    for name in REGRESSION.names:
        assert one.metrics[name].low < one.metrics[name].value < one.metrics[name].high
        assert whole.metrics[name].value == one.metrics[name].value
    assert one.drawn == "images"
    assert "20 groups" in whole.drawn


@pytest.mark.parametrize("number", [0.0, 0.1, 1e9 / 3])
def test_one_number_alone_has_no_variance_to_explain(number):
    found = evaluate_regression(
        np.full(5, number + 1), np.full(5, number), "age", metrics=REGRESSION.names, bootstrap=20, seed=0
    )
    assert math.isnan(found.metrics["r2"].value)
    assert "same number" in found.metrics["r2"].reason
    assert found.metrics["mae"].value == pytest.approx(1)
    assert load_evaluation(evaluation_to_json(found)).metrics["mae"] == found.metrics["mae"]


def test_the_scatter_shows_all_sizes_of_a_large_split():
    truth = np.random.default_rng(0).permutation(5000).astype(float)
    found = evaluate_regression(truth + 1, truth, "age", metrics=("mae",), bootstrap=0, seed=0)
    scatter = json.loads(evaluation_to_json(found))["curves"]["scatter"]
    assert len(scatter["truth"]) == DRAWN_IMAGES
    assert scatter["truth"] == sorted(scatter["truth"])
    assert (scatter["truth"][0], scatter["truth"][-1]) == (0, 4997)
    assert scatter["predicted"] == [value + 1 for value in scatter["truth"]]


@pytest.mark.parametrize(
    ("predicted", "truth", "metrics", "words"),
    [
        ([], [], ("mae",), "no image"),
        ([1.0, 2.0], [1.0], ("mae",), "do not fit"),
        ([1.0, math.nan], [1.0, 2.0], ("mae",), "not all finite"),
        ([1.0], [1.0], ("accuracy",), "no such regression metric"),
    ],
)
def test_what_can_not_be_measured_is_refused(predicted, truth, metrics, words):
    with pytest.raises(EvaluationError, match=words):
        evaluate_regression(predicted, truth, "age", metrics=metrics, bootstrap=0, seed=0)
