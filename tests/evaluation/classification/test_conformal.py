"""Split conformal prediction: numpy's quantile at the corrected level, and the promise itself."""

import numpy as np
import pytest

from transferflow.evaluation.classification.conformal import conformal_reach, measure_sets, prediction_sets


@pytest.mark.parametrize(("images", "confidence"), [(20, 0.9), (99, 0.9), (100, 0.95), (57, 0.5)])
def test_the_reach_is_the_corrected_quantile(images, confidence):
    right = np.random.default_rng(images).random(images)
    level = np.ceil((images + 1) * confidence) / images
    expected = np.quantile(1 - right, level, method="inverted_cdf")
    assert conformal_reach(right, confidence) == pytest.approx(expected)


def test_too_few_images_promise_nothing_less_than_every_class():
    assert conformal_reach(np.full(8, 0.99), 0.9) == 1.0
    assert conformal_reach(np.full(9, 0.99), 0.9) == pytest.approx(0.01)


def test_new_images_are_held_as_often_as_promised():
    """Over many draws of validation and test images the mean coverage is 90 % or a little more."""
    random, covered = np.random.default_rng(0), []
    for _ in range(400):
        probabilities = random.dirichlet(np.full(4, 0.6), 150)
        truth = np.array([random.choice(4, p=row) for row in probabilities])
        right = probabilities[np.arange(150), truth]
        sets = prediction_sets(probabilities[50:], conformal_reach(right[:50], 0.9))
        covered.append(sets[np.arange(100), truth[50:]].mean())
    # Between 0.9 and 0.9 + 1 / (n + 1); the likeliest class, always in, adds a little.
    assert 0.895 <= np.mean(covered) <= 0.94


def test_the_likeliest_class_is_always_in():
    sets = prediction_sets(np.array([[0.4, 0.35, 0.25], [0.05, 0.9, 0.05]]), 0.3)
    assert sets.tolist() == [[True, False, False], [False, True, False]]


def test_coverage_and_size_are_counted():
    sets = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1]], bool)
    truth = np.eye(3, dtype=bool)[[0, 1, 2, 2]]
    found = measure_sets(sets, truth, 0.9, resamples=50, seed=0, clusters=None)
    assert (found.coverage.value, found.size.value, found.single) == (0.75, 2.0, 0.25)
    assert found.coverage.low <= 0.75 <= found.coverage.high
