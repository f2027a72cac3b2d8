"""When deployments run: from what a spec says to what Prefect keeps, and back into words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import assert_never
from zoneinfo import ZoneInfo

from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import (
    SCHEDULE_TYPES,
    CronSchedule,
    IntervalSchedule,
    NoSchedule,
    RRuleSchedule,
)

from transferflow.spec.sections import run_times
from transferflow.spec.sections.recurrence import ANCHOR, interval_length, interval_words

_MONDAY = datetime(2024, 1, 1)
"""From when on intervals count. Without it each deploy would begin them anew."""
_BEGIN = f"DTSTART:{ANCHOR:%Y%m%dT%H%M%S}\nRRULE:"
"""A server puts this before a rule that has none, which would look like a change ever after."""


@lru_cache(maxsize=1024)  # Prefect lists all time zones of the disk for each: half the time of 100 specs
def build_schedule(times: run_times.AnySchedule) -> SCHEDULE_TYPES:
    """The schedule that Prefect keeps for a spec's."""
    match times:
        case run_times.CronSchedule():
            return CronSchedule(cron=times.cron, timezone=times.timezone)
        case run_times.IntervalSchedule():
            begin = _MONDAY.replace(tzinfo=ZoneInfo(times.timezone))
            length = interval_length(times.interval)
            return IntervalSchedule(interval=length, anchor_date=begin, timezone=times.timezone)
        case run_times.RuleSchedule():
            return RRuleSchedule(rrule=f"{_BEGIN}{times.rrule}", timezone=times.timezone)
        case _:
            assert_never(times)


def is_same(one: SCHEDULE_TYPES, other: SCHEDULE_TYPES) -> bool:
    """Whether two schedules come at the same times."""
    return type(one) is type(other) and one.model_dump() == other.model_dump()


def describe_schedule(schedule: SCHEDULE_TYPES) -> str:
    """When something runs, in words."""
    match schedule:
        case CronSchedule():
            return f"{schedule.cron} {schedule.timezone or 'UTC'}"
        case IntervalSchedule():
            return f"every {interval_words(schedule.interval)} {schedule.timezone or 'UTC'}"
        case RRuleSchedule():
            return f"{schedule.rrule.removeprefix(_BEGIN)} {schedule.timezone or 'UTC'}"
        case NoSchedule():
            return ""
        case _:
            assert_never(schedule)


def describe_schedules(schedules: Sequence[DeploymentSchedule]) -> str:
    """When something runs by all of its schedules, in words."""
    return ", ".join(describe_schedule(each.schedule) for each in schedules)
