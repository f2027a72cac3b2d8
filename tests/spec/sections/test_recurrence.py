from __future__ import annotations

import time
from datetime import timedelta

import pytest

from transferflow.spec.deciding import poll_schedule
from transferflow.spec.sections.evaluation import Refresh
from transferflow.spec.sections.recurrence import check_interval, check_rrule, interval_length


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("1m", timedelta(minutes=1)),
        ("30m", timedelta(minutes=30)),
        ("6h", timedelta(hours=6)),
        ("2w", timedelta(days=14)),
        ("366d", timedelta(days=366)),
    ],
)
def test_an_interval_is_a_number_with_a_unit(text: str, length: timedelta) -> None:
    assert check_interval(text) == text
    assert interval_length(text) == length


@pytest.mark.parametrize(
    "text", ["", "6", "h", "6 h", "6H", "1.5h", "-1h", "0m", "367d", "53w", "99999h", "30s"]
)
def test_what_is_no_interval_or_too_short_or_long_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="an interval is"):
        check_interval(text)


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=DAILY;BYHOUR=3",
        "FREQ=MONTHLY;BYDAY=1MO;BYHOUR=3",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=WEEKLY;INTERVAL=2;WKST=MO",
    ],
)
def test_a_rule_that_comes_again_and_again_is_taken(text: str) -> None:
    assert check_rrule(text) == text


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is no part"),
        ("BYHOUR=3", "has a FREQ"),
        ("FREQ=MINUTELY", "`interval` is for shorter"),
        ("FREQ=SECONDLY", "`interval` is for shorter"),
        ("FREQ=FORTNIGHTLY", "FREQ is one of"),
        ("FREQ=DAILY;FREQ=DAILY", "once"),
        ("FREQ=DAILY;COUNT=3", "'COUNT=3' is no part"),
        ("FREQ=DAILY;UNTIL=20300101T000000Z", "is no part"),
        ("DTSTART:00010101T000000\nRRULE:FREQ=DAILY", "is no part"),
        ("FREQ=DAILY;INTERVAL=0", "from 1 on"),
        ("FREQ=DAILY;INTERVAL=99999999999", "has no value"),
        ("FREQ=DAILY;BYHOUR=25", "not a recurrence rule|never comes"),
        ("FREQ=DAILY;BYDAY=XX", "not a recurrence rule"),
        ("FREQ=MONTHLY;BYDAY=0MO", "not a recurrence rule|never comes"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "never comes"),
        ("FREQ=YEARLY;INTERVAL=100", "never comes"),
        ("FREQ=DAILY;BYHOUR=" + ",".join(["1"] * 300), "at most 500"),
    ],
)
def test_any_other_rule_is_refused_soon_and_says_why(text: str, what: str) -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match=what):
        check_rrule(text)
    assert time.process_time() - started < 3


def test_a_poll_takes_either() -> None:
    assert poll_schedule(Refresh(poll="30m", timezone="Europe/Zurich")).model_dump() == {
        "interval": "30m",
        "timezone": "Europe/Zurich",
    }
    assert poll_schedule(Refresh(poll="*/30 * * * *")).model_dump() == {
        "cron": "*/30 * * * *",
        "timezone": "UTC",
    }
