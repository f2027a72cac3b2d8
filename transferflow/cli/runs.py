"""`transferflow runs`: what was run in a home."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from transferflow.cli.console import output
from transferflow.cli.help import examples
from transferflow.cli.options import Home, Json
from transferflow.text import describe_seconds, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferflow.stages.runs import RunRecord

app = typer.Typer(help="What was run.", no_args_is_help=True)

_SHOWN_CHANGES = 2
_LEAST_WIDTHS = {"name": 12, "when": len("2026-11-27")}
"""Columns that stay readable where the terminal is narrow: no date is broken, and no short name."""


@app.callback()
def group() -> None:
    """What was run."""


@app.command("list", epilog=examples("runs list", "runs list --name my-model --sort metric --limit 5"))
def list_(
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Only runs of the spec with this name.")
    ] = None,
    verdict: Annotated[
        Literal["promote", "hold", "reject"] | None,
        typer.Option("--verdict", help="Only runs with this verdict."),
    ] = None,
    sort: Annotated[
        Literal["when", "name", "metric", "duration"],
        typer.Option("--sort", help="`when`: the latest first; `metric`: the best; `duration`: the longest."),
    ] = "when",
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="How many runs to show.")
    ] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """List the finished runs of a home: when, metric, verdict, duration, and what changed in the training."""
    from transferflow.stages.context import build_context
    from transferflow.stages.runs import list_runs

    found = [
        run
        for run in list_runs(build_context(home))
        if name in (None, run.name) and verdict in (None, run.verdict.lower())
    ]
    shown = sort_runs(found, sort)[:limit]
    if as_json:
        sys.stdout.write(json.dumps([_plain(run) for run in shown], indent=2) + "\n")
    elif shown:
        output().print(runs_table(shown), soft_wrap=False)
    else:
        output().print("no such run in this home" if name or verdict else "no finished run in this home")


def sort_runs(runs: Sequence[RunRecord], by: str) -> list[RunRecord]:
    """Runs in the order that is asked for; those without a value last.

    Args:
        runs: The latest first.
        by: `when`, `name`, `metric` or `duration`.
    """
    match by:
        case "name":
            return sorted(runs, key=lambda run: run.name)
        case "metric":
            return sorted(runs, key=_badness)
        case "duration":
            return sorted(runs, key=lambda run: -(run.seconds or 0.0))
        case _:
            return list(runs)


def _badness(run: RunRecord) -> float:
    if run.value is None or math.isnan(run.value.value):
        return math.inf
    return run.value.value if run.lower_is_better else -run.value.value


def runs_table(runs: Sequence[RunRecord]) -> Table:
    """A row per run."""
    from transferflow.stages.runs import describe_changes, describe_metric

    table = Table()
    for name in ("name", "version", "when", "metric", "verdict", "trained", "changed"):
        table.add_column(
            name,
            overflow="fold",
            justify="right" if name in ("version", "trained") else "left",
            min_width=_LEAST_WIDTHS.get(name),
        )
    for run in runs:
        row = (
            run.name,
            str(run.version),
            run.decided[:16],
            describe_metric(run),
            run.verdict,
            describe_seconds(run.seconds),
        )
        table.add_row(*map(printable, (*row, describe_changes(run, _SHOWN_CHANGES))))
    return table


def _plain(run: RunRecord) -> dict[str, object]:
    """Plain JSON: JSON has no `nan`, and holds `null` instead."""
    document = asdict(run)
    document["metrics"] = {
        name: {
            key: None if isinstance(part, float) and math.isnan(part) else part for key, part in value.items()
        }
        for name, value in document["metrics"].items()
    }
    return document
