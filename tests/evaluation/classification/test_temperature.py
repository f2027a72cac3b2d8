import numpy as np
import pytest
import torch
from scipy.special import expit, log_expit, log_softmax, softmax

from transferflow.evaluation.classification.temperature import fit_temperature, negative_log_likelihood
from transferflow.models.heads import apply_temperature, build_head

RANDOM = np.random.default_rng(0)


def one_class(images=20_000, classes=4):
    """Logits that are calibrated: the truth is drawn from their own softmax."""
    logits = RANDOM.normal(0, 2, (images, classes))
    drawn = (softmax(logits, axis=1).cumsum(axis=1) < RANDOM.random((images, 1))).sum(axis=1)
    return logits, np.eye(classes, dtype=bool)[np.minimum(drawn, classes - 1)]


def several_classes(images=20_000, classes=4):
    logits = RANDOM.normal(0, 2, (images, classes))
    return logits, RANDOM.random(logits.shape) < expit(logits)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("several", [False, True])
def test_what_is_too_sure_by_a_factor_gets_it_as_its_temperature(factor, several):
    logits, truth = several_classes() if several else one_class()
    assert fit_temperature(factor * logits, truth, several=several) == pytest.approx(factor, rel=0.04)


@pytest.mark.parametrize("several", [False, True])
def test_the_likelihood_is_scipys_and_no_other_temperature_has_less(several):
    logits, truth = several_classes(500) if several else one_class(500)
    if several:
        expected = -np.where(truth, log_expit(logits), log_expit(-logits)).mean()
    else:
        expected = -log_softmax(logits, axis=1)[truth].mean()
    assert negative_log_likelihood(logits, truth, several=several) == pytest.approx(expected)
    best = fit_temperature(logits, truth, several=several)
    losses = [negative_log_likelihood(logits / t, truth, several=several) for t in np.linspace(0.3, 3, 400)]
    assert negative_log_likelihood(logits / best, truth, several=several) <= min(losses) + 1e-9


def test_large_logits_and_perfect_ones_are_no_error():
    truth = np.eye(3, dtype=bool)
    assert fit_temperature(1e4 * truth.astype(float), truth, several=False) < 0.1
    assert fit_temperature(np.zeros((3, 3)), truth, several=False) > 0
    assert np.isfinite(fit_temperature(-1e4 * truth.astype(float), truth, several=True))


def test_a_head_gives_its_logits_divided_by_the_temperature():
    head = build_head(5, 3, dropout=0.1, hidden=(4,), zero=False).eval()
    features = torch.randn(6, 5)
    with torch.inference_mode():
        before = head(features)
    apply_temperature(head, 2.5)
    with torch.inference_mode():
        torch.testing.assert_close(head(features), before / 2.5)
