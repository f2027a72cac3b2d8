from __future__ import annotations

import re
from datetime import datetime

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import given
from hypothesis import strategies as st

from transferflow.spec.sections.cron import check_cron, check_timezone

_NOW = datetime(2026, 1, 1)


@pytest.mark.parametrize(
    "text",
    [
        "* * * * *",
        "0 3 * * 1",
        "*/30 * * * *",
        "0,15,30 8-18/2 1-7 jan-mar,DEC mon-fri",
        "5/20 0 29 2 *",
        "0 0 31 1,2 *",
        "0 0 30 2 1",
        "0 0 * * 7",
        "  0   3 * * *  ",
    ],
)
def test_cron_fields_that_a_scheduler_takes(text: str) -> None:
    assert check_cron(text) == text
    CronSim(" ".join(text.split()), _NOW)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "found 0"),
        ("* * * *", "found 4"),
        ("* * * * * *", "found 6"),
        ("@daily", "found 1"),
        ("60 * * * *", "'60' is not in 0 to 59"),
        ("* 24 * * *", "'24' is not in 0 to 23"),
        ("* * 0 * *", "'0' is not in 1 to 31"),
        ("* * * 13 *", "'13' is not in 1 to 12"),
        ("* * * * 8", "'8' is not in 0 to 7"),
        ("* * * foo *", "'foo' is not in 1 to 12"),
        ("-1 * * * *", "is none of"),
        ("1-  * * * *", "is none of"),
        ("5-1 * * * *", "runs backwards"),
        ("*/0 * * * *", "step of 0"),
        ("1,,2 * * * *", "is none of"),
        ("1.5 * * * *", "is none of"),
        ("٣ * * * *", "is not in 0 to 59"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6 *", "never comes"),
        (f"{'9' * 5000} * * * *", "is not in 0 to 59"),
    ],
)
def test_cron_fields_that_are_wrong(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=re.escape(what)):
        check_cron(text)


_FIELD = st.one_of(
    st.just("*"),
    st.integers(0, 70).map(str),
    st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda r: f"{r[0]}-{r[1]}"),
    st.integers(0, 20).map(lambda n: f"*/{n}"),
    st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda r: f"{r[0]},{r[1]}"),
    st.sampled_from(["mon", "feb", "x", "", "1-5/2"]),
)


@given(st.lists(_FIELD, min_size=4, max_size=6).map(" ".join))
def test_what_is_accepted_another_library_accepts_too(text: str) -> None:
    try:
        check_cron(text)
    except ValueError:
        return
    try:
        next(CronSim(text, _NOW))
    except CronSimError as error:  # pragma: no cover
        pytest.fail(f"{text}: {error}")


@pytest.mark.parametrize("name", ["UTC", "Europe/Zurich", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_time_zones(name: str) -> None:
    assert check_timezone(name) == name


@pytest.mark.parametrize(
    "name", ["Europe", "Europe/Zurch", "../etc/passwd", "/etc/passwd", "x\0", "CEST2", " "]
)
def test_what_is_no_time_zone(name: str) -> None:
    with pytest.raises(ValueError, match="no such IANA time zone"):
        check_timezone(name)
