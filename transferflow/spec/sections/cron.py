"""Cron fields and time zones, checked before a scheduler sees them."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo, available_timezones

from transferflow.spec.wording import did_you_mean

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("weekday", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)
# February has its leap days: day 29 comes at least every eight years.
_LONGEST_MONTH = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_PART = re.compile(r"(?:\*|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d{1,4}))?")


def check_cron(text: str) -> str:
    """Return five cron fields as they are.

    Raises:
        ValueError: There are not five fields, a field is out of range, or the day never comes.
    """
    fields = text.split()
    if len(fields) != len(_FIELDS):
        names = " ".join(name for name, *_ in _FIELDS)
        raise ValueError(f"cron has five fields ({names}), found {len(fields)}")
    values = [_field(field, *rule) for field, rule in zip(fields, _FIELDS, strict=True)]
    days, months = values[2], values[3]
    any_weekday = fields[4].startswith("*")
    if any_weekday and all(min(days) > _LONGEST_MONTH.get(month, 31) for month in months):
        raise ValueError(f"cron: day {min(days)} never comes in that month")
    return text


def _field(text: str, name: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    values: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if not match:
            raise ValueError(f"cron: the {name} {part!r} is none of 5, 1-5, */15, 1,3,5")
        first, last = low, high
        if match["low"]:
            first = _number(match["low"], name, low, high, names)
            # A lone start with a step runs to the end, as in 10/15.
            last = _number(match["high"], name, low, high, names) if match["high"] else first
            last = high if match["step"] and not match["high"] else last
        if first > last:
            raise ValueError(f"cron: the {name} {part!r} runs backwards")
        step = int(match["step"] or 1)
        if step == 0:
            raise ValueError(f"cron: the {name} {part!r} has a step of 0")
        values.update(range(first, last + 1, step))
    return values


def _number(text: str, name: str, low: int, high: int, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not text.isascii() or not text.isdecimal() or not low <= int(text[:9]) <= high:
        raise ValueError(f"cron: the {name} {text!r} is not in {low} to {high}")
    return int(text)


def check_timezone(name: str) -> str:
    """Return an IANA time zone's name as it is.

    Raises:
        ValueError: There is no such time zone.
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # a folder of zones, such as `Europe`, is an OSError
        region = name.partition("/")[0].lower()
        # Those of the same region first: they alone are few enough to be looked through.
        zones = sorted(
            available_timezones(), key=lambda zone: (zone.partition("/")[0].lower() != region, zone)
        )
        near = did_you_mean(name, zones)
        hint = f": {near}" if near else ", such as Europe/Zurich"
        raise ValueError(f"no such IANA time zone{hint}") from None
    return name
