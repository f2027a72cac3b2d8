"""Intervals and recurrence rules (RFC 5545), checked before a scheduler sees them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from itertools import islice

from transferflow.spec.sections.cron import check_cron

ANCHOR = datetime(2020, 1, 1)
"""From when on recurrence rules count, which is where schedulers let rules without DTSTART begin."""
_LAST = datetime(2048, 1, 1)
"""After 28 years weekdays and dates fall together again: what did not come until then never comes."""
INTERVAL_WORDS = "a number with m, h, d or w, as in 30m, 6h, 1d or 2w"
_INTERVAL = re.compile(r"(?P<number>\d{1,4})(?P<unit>[mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=366)
_FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY")
_PARTS = (
    "FREQ",
    "INTERVAL",
    "BYMONTH",
    "BYWEEKNO",
    "BYYEARDAY",
    "BYMONTHDAY",
    "BYDAY",
    "BYSETPOS",
    "BYHOUR",
    "BYMINUTE",
    "WKST",
)
_VALUE = re.compile(r"[A-Z0-9,+-]+")
_LONG_NUMBER = re.compile(r"\d{4}")
_MAX_LENGTH = 500


def check_interval(text: str) -> str:
    """Return an interval as it is.

    Raises:
        ValueError: It is no number with a unit, or not from a minute to a year.
    """
    if not timedelta(minutes=1) <= interval_length(text) <= _LONGEST:
        raise ValueError("an interval is from 1m to 366d")
    return text


def interval_length(text: str) -> timedelta:
    """How long an interval is.

    Raises:
        ValueError: It is no number with a unit.
    """
    match = _INTERVAL.fullmatch(text)
    if match is None:
        raise ValueError(f"an interval is {INTERVAL_WORDS}")
    return timedelta(**{_UNITS[match["unit"]]: int(match["number"])})


def interval_words(length: timedelta) -> str:
    """An interval as a spec says it, in the largest unit that fits."""
    for unit, name in sorted(_UNITS.items(), key=lambda item: -timedelta(**{item[1]: 1})):
        if not length % timedelta(**{name: 1}):
            return f"{length // timedelta(**{name: 1})}{unit}"
    return str(length)


def check_poll(text: str) -> str:
    """Return an interval or five cron fields as they are.

    Raises:
        ValueError: It is neither.
    """
    return check_interval(text) if is_interval(text) else check_cron(text)


def is_interval(text: str) -> bool:
    """Whether this is an interval, and not cron fields."""
    return _INTERVAL.fullmatch(text) is not None


def check_rrule(text: str) -> str:
    """Return a recurrence rule as it is.

    A rule has no beginning and no end of its own (DTSTART, COUNT, UNTIL), and no seconds: it comes again and
    again. That bounds the work, too, of whoever looks for its next time.

    Raises:
        ValueError: It can't be read, has a part that is not allowed, or never comes a second time.
    """
    names = _part_names(text)
    if "FREQ" not in names:
        raise ValueError("a recurrence rule has a FREQ, as in FREQ=MONTHLY;BYDAY=1MO;BYHOUR=3")
    from dateutil.rrule import rrulestr

    try:
        rule = rrulestr(text, dtstart=ANCHOR).replace(until=_LAST)
        times = list(islice(rule, 2))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"not a recurrence rule: {error}") from None
    if len(times) < 2:
        raise ValueError("the recurrence rule never comes, or not twice in 28 years")
    return text


def _part_names(text: str) -> list[str]:
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"a recurrence rule has at most {_MAX_LENGTH} characters")
    names: list[str] = []
    for part in text.split(";"):
        name, _, value = part.partition("=")
        if name not in _PARTS or name in names:
            raise ValueError(f"{part!r} is no part of a recurrence rule: each of {', '.join(_PARTS)} once")
        if not _VALUE.fullmatch(value) or _LONG_NUMBER.search(value):
            raise ValueError(f"{part!r} has no value that a recurrence rule takes, as in FREQ=DAILY;BYHOUR=3")
        if name == "FREQ" and value not in _FREQUENCIES:
            raise ValueError(f"FREQ is one of {', '.join(_FREQUENCIES)}; `interval` is for shorter ones")
        if name == "INTERVAL" and not (value.isdecimal() and int(value)):
            raise ValueError("INTERVAL is a whole number from 1 on")
        names.append(name)
    return names
