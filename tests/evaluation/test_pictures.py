from __future__ import annotations

import numpy as np

from transferflow.evaluation.pictures import pick_cases


def test_the_worst_are_the_least_right_and_only_mistakes():
    rightness = np.array([0.4, np.inf, 0.1, 0.4, np.nan])
    assert pick_cases("worst", rightness, 9) == [2, 0, 3]
    assert pick_cases("worst", rightness, 2) == [2, 0]


def test_a_spread_takes_good_and_bad_from_all_over():
    assert pick_cases("spread", np.array([np.inf] * 3 + [0.0] * 3), 3) == [0, 2, 4]
    assert pick_cases("spread", np.zeros(2), 9) == [0, 1]
