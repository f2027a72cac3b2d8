"""`transferflow status` and `transferflow logs`."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from transferflow.cli.console import output
from transferflow.cli.options import Json
from transferflow.text import counted, printable

if TYPE_CHECKING:
    from pipelines.status import RunStanding, Standing

NEEDS_A_PERSON = 1


def status(as_json: Json = False) -> None:
    """Show deployments, their runs, champions, data, workers and GPUs; exit code 1 if one needs a person.

    Champions and data are those of projects whose folder is on this machine.
    """
    standings: Sequence[Standing] = import_module("transferflow.pipelines.status").read_status()
    places: Mapping[str, bool] = import_module("transferflow.pipelines.slots").busy_places()
    needy = [each for each in standings if each.problems]
    if as_json:
        document = {
            "ok": not needy,
            "deployments": [each.to_json() for each in standings],
            "places": {place: "busy" if busy else "free" for place, busy in places.items()},
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        _print_status(standings, places)
    if needy:
        raise typer.Exit(NEEDS_A_PERSON)


def logs(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A run's id; or a deployment or spec, whose last run is meant."),
    ],
) -> None:
    """Print the log lines of a run, and how it ended."""
    found, lines = import_module("transferflow.pipelines.run_logs").read_logs(run)
    out = output()
    for line in lines:
        level = logging.getLevelName(line.level)
        out.print(printable(f"{line.timestamp:%Y-%m-%d %H:%M:%S} {level:<7} {line.message}"))
    state: Any = found.state
    ended = f"{state.name}: {state.message}" if state and state.message else getattr(state, "name", "?")
    out.print(printable(f"\nrun       {found.id} ({found.name})\nstate     {ended}"))


def _print_status(standings: Sequence[Standing], places: Mapping[str, bool]) -> None:
    out = output()
    table = Table("deployment", "last run", "next run", "champion", box=None, pad_edge=False)
    for each in standings:
        paused = " (paused)" if each.paused else ""
        upcoming = f"{_time(each.next.at)}{paused}" if each.next else _no_next(each)
        champion = f"{each.champion} since {_time(each.champion_since)}" if each.champion else ""
        cells = (each.name, _run(each.last), upcoming, champion)
        table.add_row(*(printable(cell) for cell in cells))
    if standings:
        out.print(table)
    else:
        out.print("no deployments: `transferflow deploy specs/` makes them")
    out.print()
    for each in standings:
        if each.data:
            out.print(printable(f"data      {each.name}, last look: {each.data}"))
    for pool, workers in sorted({each.work_pool: each.workers for each in standings}.items()):
        out.print(printable(f"pool      {pool}: {counted(workers, 'worker')} online"))
    for place, busy in places.items():
        out.print(f"place     {place}: {'busy' if busy else 'free'}")
    needy = [(each.name, problem) for each in standings for problem in each.problems]
    for name, problem in needy:
        out.print(printable(f"look at   {name}: {problem}"))
    if standings and not needy:
        out.print("nothing needs a person")


def _run(run: RunStanding | None) -> str:
    return f"{run.state} {_time(run.at)}" if run else "never"


def _time(at: str) -> str:
    """A time in UTC as people read it; as it is where it can't be read."""
    try:
        return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return at


def _no_next(standing: Standing) -> str:
    return "paused" if standing.paused else "by hand"
