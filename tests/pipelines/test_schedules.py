"""What a spec's schedule comes to on Prefect, whose own code computes the times."""

import asyncio
from datetime import UTC, datetime

import pytest
from prefect.client.schemas.schedules import IntervalSchedule as PrefectInterval
from prefect.server.schemas import schedules as server_side
from transferflow.pipelines.schedules import build_schedule, describe_schedule, is_same

from transferflow.spec.sections.run_times import CronSchedule, IntervalSchedule, RuleSchedule

FIRST_MONDAY = "FREQ=MONTHLY;BYDAY=1MO;BYHOUR=3"
CASES = [
    (CronSchedule(cron="0 3 * * 1"), ["2026-01-05T03", "2026-01-12T03"], "0 3 * * 1 UTC"),
    (IntervalSchedule(interval="1w"), ["2026-01-05T00", "2026-01-12T00"], "every 1w UTC"),
    (IntervalSchedule(interval="6h"), ["2026-01-01T00", "2026-01-01T06"], "every 6h UTC"),
    (RuleSchedule(rrule=FIRST_MONDAY), ["2026-01-05T03", "2026-02-02T03"], f"{FIRST_MONDAY} UTC"),
]


@pytest.mark.parametrize(("times", "expected", "words"), CASES)
def test_a_server_finds_the_times_and_keeps_the_schedule_as_it_is(times, expected, words):
    ours = build_schedule(times)
    theirs = getattr(server_side, type(ours).__name__).model_validate(ours.model_dump(mode="json"))
    dates = asyncio.run(theirs.get_dates(n=2, start=datetime(2026, 1, 1, tzinfo=UTC)))
    assert [f"{date:%Y-%m-%dT%H}" for date in dates] == expected
    assert is_same(type(ours).model_validate(theirs.model_dump(mode="json")), ours)
    assert describe_schedule(ours) == words


def test_weeks_begin_on_monday_where_the_spec_runs_and_keep_the_hour_in_summer():
    ours = build_schedule(IntervalSchedule(interval="1w", timezone="Europe/Zurich"))
    theirs = server_side.IntervalSchedule.model_validate(ours.model_dump(mode="json"))
    start = datetime(2026, 3, 20, tzinfo=UTC)
    dates = [each.astimezone(UTC) for each in asyncio.run(theirs.get_dates(n=2, start=start))]
    assert [f"{date:%a %d %H:%M}" for date in dates] == ["Sun 22 23:00", "Sun 29 22:00"]


def test_another_kind_length_or_zone_is_another_schedule():
    hourly = build_schedule(IntervalSchedule(interval="1h"))
    assert is_same(hourly, build_schedule(IntervalSchedule(interval="60m")))
    assert not is_same(hourly, build_schedule(IntervalSchedule(interval="2h")))
    assert not is_same(hourly, build_schedule(IntervalSchedule(interval="1h", timezone="Europe/Zurich")))
    assert not is_same(hourly, build_schedule(CronSchedule(cron="0 * * * *")))
    assert not is_same(hourly, PrefectInterval(interval=3600))
