"""`transferflow refresh`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from transferflow.cli.console import output
from transferflow.cli.options import (
    Home,
    Json,
    Offline,
    Override,
    Quiet,
    SpecFile,
    TrackingUri,
    naming_the_spec,
)
from transferflow.cli.run import print_summary, run_as_flow, run_here
from transferflow.store import BusyError
from transferflow.text import printable

if TYPE_CHECKING:
    from transferflow.stages.refresh.decide import Action
    from transferflow.stages.refresh.look import Look

_EXIT_CODES: dict[Action, int] = {"stop": 4, "wait": BusyError.exit_code}


def refresh(
    spec: SpecFile,
    overrides: Override = None,
    home: Home = None,
    tracking_uri: TrackingUri = None,
    offline: Offline = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, and train nothing.")] = False,
    prefect: Annotated[
        bool,
        typer.Option("--prefect/--no-prefect", help="Train as a Prefect flow, or in this process alone."),
    ] = True,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look whether the data of SPEC has changed, and train again when its `deployment.refresh` says so.

    Exit code 0: nothing to do, or trained; 4: a person must look at the data; 75: it is still being copied,
    or another refresh is under way.
    """
    from transferflow.spec.load import load_spec
    from transferflow.stages.context import build_context
    from transferflow.stages.refresh.look import look_at_data
    from transferflow.stages.refresh.turn import holding_refresh, remember

    loaded = load_spec(spec, overrides or ())
    context = build_context(home, tracking_uri, offline)
    with naming_the_spec(spec, overrides or ()), holding_refresh(loaded, context):
        look = look_at_data(loaded, context)
        _print_look(look, as_json, dry_run)
        if look.decision.action == "train" and not dry_run:
            trains = (
                run_as_flow(spec, overrides or (), context) if prefect else run_here(loaded, context, quiet)
            )
            remember(loaded, context, trains)
            if not as_json:
                print_summary(spec, trains)
    if look.decision.action in _EXIT_CODES:
        raise typer.Exit(_EXIT_CODES[look.decision.action])


def _print_look(look: Look, as_json: bool, dry_run: bool) -> None:
    if as_json:
        document = {**asdict(look.decision), "change": look.change.to_json() if look.change else None}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    words = {"nothing": "nothing to do", "wait": "waiting", "stop": "stopped", "train": "training again"}
    if dry_run:
        words["train"] = "would train again"
    output().print(printable(f"{words[look.decision.action]}: {look.decision.reason}"))
