from __future__ import annotations

import math
from decimal import Decimal

import pytest

from transferflow.data.formats.exact import (
    InexactError,
    exact_flag,
    exact_id,
    exact_number,
    exact_text,
    exact_whole,
)


@pytest.mark.parametrize(("value", "number"), [(12, 12), (12.0, 12), ("12", 12), ("12.0", 12), (" 7 ", 7)])
def test_whole_numbers(value, number):
    assert exact_whole(value) == number
    assert type(exact_whole(value)) is int


@pytest.mark.parametrize(
    "value", [12.5, "12.5", "a", "", None, True, math.nan, math.inf, [1], 2.0**70, "1e400"]
)
def test_what_is_no_whole_number(value):
    with pytest.raises(InexactError, match="not a whole number"):
        exact_whole(value)


def test_a_large_integer_keeps_its_last_digit():
    assert exact_whole(2**62 + 1) == 2**62 + 1


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (7, 7),
        (7.0, 7),
        ("7", 7),
        ("-7", -7),
        ("007", "007"),
        ("7.0", "7.0"),
        ("", ""),
        ("-0", "-0"),
        ("a", "a"),
    ],
)
def test_ids_are_equal_only_where_they_say_the_same(value, key):
    assert exact_id(value) == key
    assert type(exact_id(value)) is type(key)


@pytest.mark.parametrize("value", ["9" * 5000, "٣"])
def test_long_and_foreign_digits_stay_text(value):
    assert exact_id(value) == value


@pytest.mark.parametrize("value", [None, True, 7.5, [7], math.nan, 10**400])
def test_what_is_no_id(value):
    with pytest.raises(InexactError):
        exact_id(value)


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        (0, False),
        (1, True),
        ("0", False),
        ("1", True),
        (0.0, False),
        (True, True),
        ("True", True),
        ("false", False),
    ],
)
def test_flags(value, flag):
    assert exact_flag(value) is flag


@pytest.mark.parametrize("value", [2, "2", "yes?", None, [], math.nan, ""])
def test_what_is_no_flag(value):
    with pytest.raises(InexactError, match="neither 0 nor 1"):
        exact_flag(value)


@pytest.mark.parametrize("value", ["x", None, True, math.inf, "nan", 10**400, [1]])
def test_what_is_no_number(value):
    with pytest.raises(InexactError, match="not a number"):
        exact_number(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (math.nan, ""),
        (Decimal("NaN"), ""),
        (1.0, "1"),
        (Decimal("2.0"), "2"),
        (1.5, "1.5"),
        (7, "7"),
        (True, "true"),
        (b"caf\xc3\xa9", "café"),
        ("007", "007"),
    ],
)
def test_text(value, text):
    assert exact_text(value) == text


@pytest.mark.parametrize("value", [[1], {"a": 1}, (), b"\xff", math.inf, Decimal("-Infinity")])
def test_what_is_no_text(value):
    with pytest.raises(InexactError):
        exact_text(value)
