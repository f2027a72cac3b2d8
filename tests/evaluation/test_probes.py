"""Probes on features, held against scikit-learn."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from transferflow.evaluation.probes import fit_linear, linear_answer, mean_answer, neighbours_answer

DIGITS = load_digits()
X, Y = DIGITS.data[:600] / 16, DIGITS.target[:600]
HOT = np.eye(10)[Y]


def votes(distances):
    return np.exp((1 - distances) / 0.07)


def test_neighbours_vote_as_those_of_scikit_learn():
    ours = neighbours_answer(X[:400], HOT[:400], X[400:])
    theirs = KNeighborsClassifier(20, metric="cosine", weights=votes).fit(X[:400], Y[:400])
    assert ours == pytest.approx(theirs.predict_proba(X[400:]), abs=1e-6)
    numbers = X.sum(axis=1, keepdims=True)
    mean = KNeighborsRegressor(20, metric="cosine", weights=votes).fit(X[:400], numbers[:400])
    found = neighbours_answer(X[:400], numbers[:400], X[400:])
    assert found == pytest.approx(mean.predict(X[400:]), rel=1e-6)


def test_fewer_images_than_neighbours_all_vote():
    found = neighbours_answer(X[:3], HOT[:3], X[3:4])
    assert found.sum() == pytest.approx(1)


def test_the_softmax_fit_is_scikit_learns():
    penalty = 0.01
    theirs = LogisticRegression(C=1 / (penalty * 400), tol=1e-8, max_iter=2000).fit(X[:400], Y[:400])
    ours = fit_linear(X[:400], HOT[:400], "softmax", penalty)(X[400:])
    assert ours == pytest.approx(theirs.predict_proba(X[400:]), abs=2e-3)


def test_the_sigmoid_fit_is_scikit_learns_class_by_class():
    penalty, labels = 0.01, np.stack([Y % 2 == 0, Y > 4], axis=1).astype(float)
    ours = fit_linear(X[:400], labels[:400], "sigmoid", penalty)(X[400:])
    for column in range(2):
        one = LogisticRegression(C=1 / (penalty * 400), tol=1e-8, max_iter=2000)
        theirs = one.fit(X[:400], labels[:400, column]).predict_proba(X[400:])[:, 1]
        assert ours[:, column] == pytest.approx(theirs, abs=2e-3)


def test_the_fit_of_numbers_is_ridge_regression():
    penalty, numbers = 0.1, (X @ np.arange(64))[:, None]
    ours = fit_linear(X[:400], numbers[:400], "identity", penalty)(X[400:])
    theirs = Ridge(alpha=penalty * 400).fit(X[:400], numbers[:400]).predict(X[400:])
    assert ours.ravel() == pytest.approx(theirs.ravel(), rel=1e-3)


def test_the_penalty_is_chosen_on_the_validation_images():
    """Many features of noise and few images: the least penalty fits the noise, and is not taken."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 120)
    features = random.normal(size=(120, 200))
    features[:, 0] += 3 * (2 * truth - 1)
    hot = np.eye(2)[truth]
    parts = [(features[a:b], hot[a:b]) for a, b in ((0, 40), (40, 80))]
    answers = linear_answer(*parts, features[80:], "softmax")
    centre, spread = parts[0][0].mean(axis=0), parts[0][0].std(axis=0)
    scaled = [(f - centre) / spread for f in (features[:40], features[80:])]
    strict, loose = (
        fit_linear(scaled[0], hot[:40], "softmax", penalty)(scaled[1]) for penalty in (1.0, 1e-4)
    )
    assert answers == pytest.approx(strict)
    assert not np.allclose(answers, loose, atol=0.01)


def test_the_mean_answer_is_how_often_each_class_is_seen():
    assert mean_answer(np.eye(2)[[0, 0, 1, 0]], 2).tolist() == [[0.75, 0.25], [0.75, 0.25]]
