import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import rbf_kernel

from transferflow.evaluation.statistics.discrepancy import PERMUTATIONS, compare_samples


def draw(seed, size, features=4, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, (size, features))


def formula(first, second):
    """Eq. 3 of Gretton et al. 2012, term by term, with scikit-learn's kernel and scipy's median distance."""
    pooled = np.concatenate([first, second])
    width = np.median(pdist(pooled))
    kernel = rbf_kernel(pooled, gamma=1 / (2 * width**2))
    m, n = len(first), len(second)
    within_first = sum(kernel[i, j] for i in range(m) for j in range(m) if i != j)
    within_second = sum(kernel[m + i, m + j] for i in range(n) for j in range(n) if i != j)
    between = sum(kernel[i, m + j] for i in range(m) for j in range(n))
    return within_first / (m * (m - 1)) + within_second / (n * (n - 1)) - 2 * between / (m * n)


@pytest.mark.parametrize(("m", "n", "shift"), [(9, 14, 0.0), (14, 9, 0.7), (2, 30, 3.0)])
def test_the_statistic_is_that_of_the_paper(m, n, shift):
    first, second = 100 + draw(1, m), 100 + draw(2, n, shift=shift)
    assert compare_samples(first, second, seed=0).statistic == pytest.approx(formula(first, second), abs=1e-9)


def test_the_p_value_is_that_of_an_independent_permutation_test():
    first, second = draw(3, 8), draw(4, 10, shift=0.5)
    pooled = np.concatenate([first, second])
    theirs = stats.permutation_test(
        (np.arange(8), np.arange(8, 18)),
        lambda one, other: formula(pooled[one], pooled[other]),
        vectorized=False,
        n_resamples=400,
        alternative="greater",
        rng=0,
    )
    assert compare_samples(first, second, seed=0).p_value == pytest.approx(theirs.pvalue, abs=0.06)


def test_without_drift_every_p_value_is_as_likely():
    found = [compare_samples(draw(2 * n, 12), draw(2 * n + 1, 20), seed=n).p_value for n in range(100)]
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert 0 <= sum(p <= 0.1 for p in found) <= 20


def test_a_shift_and_another_spread_are_seen():
    before = draw(1, 100)
    assert compare_samples(draw(2, 30, shift=1.0), before, seed=0).p_value == 1 / (1 + PERMUTATIONS)
    assert compare_samples(2 * draw(3, 60), before, seed=0).p_value < 0.01  # the same mean


def test_the_same_seed_gives_the_same_answer_and_another_one_another():
    first, second = draw(5, 20), draw(6, 20)
    found = [compare_samples(first, second, seed=seed) for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert found[0].statistic == found[2].statistic
    assert found[0].p_value != found[2].p_value


def test_vectors_that_are_all_the_same_have_not_drifted():
    found = compare_samples(np.full((5, 3), 0.1), np.full((9, 3), 0.1), seed=0)
    assert (found.statistic, found.p_value) == (pytest.approx(0, abs=1e-12), 1.0)
