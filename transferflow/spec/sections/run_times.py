"""When a spec runs: by cron fields, at an interval, or by a recurrence rule."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Discriminator, StrictStr, Tag

from transferflow.spec.sections.base import ChosenByPresence, Section, Text
from transferflow.spec.sections.cron import check_cron, check_timezone
from transferflow.spec.sections.recurrence import INTERVAL_WORDS, check_interval, check_poll, check_rrule
from transferflow.spec.wording import Words

Cron = Annotated[Text, AfterValidator(check_cron)]
Interval = Annotated[StrictStr, Words(INTERVAL_WORDS), AfterValidator(check_interval)]
Rule = Annotated[Text, AfterValidator(check_rrule)]
Poll = Annotated[Text, AfterValidator(check_poll)]
TimeZone = Annotated[Text, AfterValidator(check_timezone)]


class CronSchedule(Section):
    """Run at fixed times."""

    cron: Cron
    """Five cron fields: minute hour day month weekday."""
    timezone: TimeZone = "UTC"
    """IANA name of the time zone."""


class IntervalSchedule(Section):
    """Run again and again after the same time."""

    interval: Interval
    """`30m`, `6h`, `1d`, `2w`; counted from midnight of a Monday, so that `1w` is Mondays at 0:00."""
    timezone: TimeZone = "UTC"
    """IANA name of the time zone."""


class RuleSchedule(Section):
    """Run by a rule of calendars (RFC 5545)."""

    rrule: Rule
    """As in `FREQ=MONTHLY;BYDAY=1MO;BYHOUR=3`: the first Monday of each month at 3:00."""
    timezone: TimeZone = "UTC"
    """IANA name of the time zone."""


RunTimes = Annotated[
    Annotated[CronSchedule, Tag("cron")]
    | Annotated[IntervalSchedule, Tag("interval")]
    | Annotated[RuleSchedule, Tag("rrule")],
    Discriminator(ChosenByPresence(("interval", "rrule"), absent="cron")),
]
AnySchedule = CronSchedule | IntervalSchedule | RuleSchedule
