import numpy as np
import pytest

from transferflow.evaluation.statistics.comparison import restrict
from transferflow.evaluation.statistics.mcnemar import mcnemar_p_value, right_or_wrong


def outcomes(won, lost, both=3):
    """Right or wrong of two models, of which the second wins and loses so many images."""
    champion = [0] * won + [1] * lost + [1] * both
    challenger = [1] * won + [0] * lost + [1] * both
    return np.array(champion, float), np.array(challenger, float)


@pytest.mark.parametrize(
    ("won", "lost", "p_value"),
    [
        (5, 1, 2 * (1 + 6) / 2**6),  # by hand: both tails of a fair coin thrown six times
        (1, 5, 2 * (1 + 6) / 2**6),
        (10, 0, 2 / 2**10),
        (4, 4, 1.0),
        (0, 0, 1.0),
        (25, 12, 0.04703),  # R: binom.test(12, 37)$p.value
    ],
)
def test_the_p_value_is_that_of_a_fair_coin(won, lost, p_value):
    assert mcnemar_p_value(*outcomes(won, lost)) == pytest.approx(p_value, rel=1e-3)


def test_right_and_wrong_come_from_the_share_of_right_images():
    right = np.random.default_rng(0).integers(0, 2, 2500).astype(float)

    def accuracy(weights):
        return weights @ right / weights.sum(axis=1)

    np.testing.assert_array_equal(right_or_wrong(accuracy, 2500), right)
    assert right_or_wrong(lambda weights: accuracy(weights) / 2, 2500) is None


def test_some_of_the_images_are_the_statistic_of_those_alone():
    values = np.arange(6.0)

    def mean(weights):
        return weights @ values / weights.sum(axis=1)

    kept = np.array([1, 4])
    assert restrict(mean, kept, 6)(np.array([[1.0, 1.0], [0.0, 2.0]])).tolist() == [2.5, 4.0]
    assert restrict(mean, np.arange(6), 6) is mean
