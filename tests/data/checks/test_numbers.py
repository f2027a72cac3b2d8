from __future__ import annotations

import random

import pytest

from transferflow.data.checks import numbers as checks
from transferflow.data.checks.numbers import check_numbers


def found(numbers):
    return list(check_numbers((f"t.csv:{line}", (str(n),)) for line, n in enumerate(numbers, 2)))


@pytest.mark.parametrize("code", [-999, 999, -9999.0, 9999, 99.99, -32768, 65535, 2147483647])
def test_a_code_far_from_all_measures(code):
    measures = [20 + n / 7 for n in range(100)]
    (few,) = found([*measures, code])
    assert (few.kind, few.severity, few.where) == ("number_code", "warning", "t.csv:102")
    (many,) = found([code, *measures, code])
    assert (many.severity, many.where) == ("error", "t.csv:2")
    assert f"the number {code:g} is that of 2 of 102 images" in many.reason
    assert 'stands for "not known"' in many.reason


def test_minus_one_in_bulk_below_many_measures():
    ages = [*range(100)]
    (said,) = found([*ages, *[-1] * 5])
    assert (said.kind, said.severity, said.where) == ("number_code", "warning", "t.csv:102")
    assert not found([*ages, -1, -1])
    assert not found([*ages, *[-1] * 5, -2])


@pytest.mark.parametrize(
    "numbers",
    [
        [-1, 0, 1] * 20,
        [n * 11 for n in range(10)],
        [*range(0, 1500, 3)],
        [9999 - n for n in range(200)],
        [*range(990, 1005)],
        [10.0**n for n in range(-3, 6)],
        [-1.5 + n / 4 for n in range(20)],
    ],
)
def test_ordinary_measures_are_none(numbers):
    assert not found(numbers)


def test_one_number_teaches_nothing():
    (said,) = found([3, 3.0])
    assert (said.kind, said.severity) == ("one_number", "error")


def test_a_number_that_no_measure_of_the_kind_has():
    (said,) = found([*(20 + n / 7 for n in range(100)), 1e6])
    assert (said.kind, said.severity, said.where) == ("number_far", "warning", "t.csv:102")
    assert said.reason.startswith("1 of 101 numbers, such as 1e+06, are further from the others")
    rng = random.Random(0)
    assert not found([rng.lognormvariate(0, 2) for _ in range(1000)])


def test_many_numbers_far_from_one_that_most_have_are_looked_at_once(monkeypatch):
    asked = []
    real = checks._stand_ins
    monkeypatch.setattr(checks, "_stand_ins", lambda counts: asked.append(1) or real(counts))
    found([0.0] * 4000 + [number / 7 for number in range(1, 1000)])
    assert asked == [1]
    assert found([]) == []
