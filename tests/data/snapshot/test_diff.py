from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from transferflow.data.snapshot.diff import compare_classes


def test_class_shift_is_pearsons_chi_square():
    shift = compare_classes({"a": 50, "b": 30, "c": 20}, {"a": 40, "b": 45, "c": 15, "d": 3})
    table = np.array([[50, 30, 20, 0], [40, 45, 15, 3]])
    expected = stats.contingency.expected_freq(table)
    statistic = ((table - expected) ** 2 / expected).sum()
    assert shift.statistic == pytest.approx(statistic)
    assert shift.p_value == pytest.approx(stats.chi2.sf(statistic, df=3))
    assert shift.cramers_v == pytest.approx(np.sqrt(statistic / table.sum()))


@pytest.mark.parametrize(
    ("old", "new"), [({"a": 5, "b": 5}, {"a": 50, "b": 50}), ({"a": 5}, {"a": 9}), ({"a": 5, "b": 1}, {})]
)
def test_no_shift(old, new):
    shift = compare_classes(old, new)
    assert (shift.statistic, shift.p_value) == (0.0, 1.0)
