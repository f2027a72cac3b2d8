"""`transferflow run` and `transferflow plan`."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from transferflow.cli.console import output, read_or_not
from transferflow.cli.nodes import NodeCount, Rendezvous, RendezvousTimeout, decide_group, run_on_nodes
from transferflow.cli.options import (
    Home,
    Json,
    Offline,
    Override,
    Quiet,
    SpecFile,
    TrackingUri,
    Verbose,
    Verify,
    naming_the_spec,
)
from transferflow.logs import get_logger
from transferflow.spec.load import load_spec
from transferflow.text import four_digits, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferflow.spec import ExperimentSpec
    from transferflow.stages.context import RunContext
    from transferflow.stages.outcome import StageOutcome
    from transferflow.stages.plan.compile import Plan
    from transferflow.training.rate_plan import RateRow


NOT_PROMOTED = 3
FAILING = {"reject": ("REJECT",), "hold": ("REJECT", "HOLD")}
"""Verdicts that fail the command, by the value of `--fail-on`."""


def run(
    spec: SpecFile,
    overrides: Override = None,
    home: Home = None,
    tracking_uri: TrackingUri = None,
    offline: Offline = False,
    prefect: Annotated[
        bool, typer.Option("--prefect/--no-prefect", help="As a Prefect flow, or in this process alone.")
    ] = True,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait",
            help="Wait for another process that runs the same stage, and reuse its result; or refuse.",
        ),
    ] = True,
    fail_on: Annotated[
        Literal["reject", "hold"] | None,
        typer.Option(
            "--fail-on", help="Exit code 3 if the gate rejects; with `hold`, if it does not promote."
        ),
    ] = None,
    verify: Verify = False,
    preflight_only: Annotated[
        bool,
        typer.Option(
            "--preflight-only",
            help="Prepare the data, look at the first batch (loss, gradient, pixels, labels, time, memory), "
            "draw training images, and train nothing; without Prefect.",
        ),
    ] = False,
    nnodes: NodeCount = 1,
    rdzv: Rendezvous = None,
    rdzv_timeout: RendezvousTimeout = 600.0,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Prepare, train, evaluate and register what SPEC says; a stage whose inputs did not change is reused.

    A run that was stopped goes on where it was when the same command is given again.
    """
    if preflight_only and fail_on:
        raise typer.BadParameter("a preflight reaches no verdict", param_hint="--fail-on")
    group = decide_group(nnodes, rdzv, rdzv_timeout)
    if group is not None and preflight_only:
        raise typer.BadParameter("a preflight looks at one machine", param_hint="--nnodes")
    loaded = load_spec(spec, overrides or ())
    from transferflow.stages.context import build_context

    context = build_context(home, tracking_uri, offline, wait, verify)
    with naming_the_spec(spec, overrides or ()):
        if preflight_only:
            print_preflight(loaded, context)
            return
        if group is not None:
            _log_to_terminal()
            found = run_on_nodes(loaded, context, group, on_stage=None if quiet else _print_stage)
            if found is None:
                return
            outcomes = found
        elif prefect:
            outcomes = run_as_flow(spec, overrides or (), context)
        else:
            outcomes = run_here(loaded, context, quiet)
    print_summary(spec, outcomes)
    verdict = next(outcome.summary["verdict"] for outcome in outcomes if outcome.stage == "register")
    if fail_on and verdict in FAILING[fail_on]:
        raise typer.Exit(NOT_PROMOTED)


def print_preflight(spec: ExperimentSpec, context: RunContext) -> None:
    """Look at the first batch and print what was found."""
    from transferflow.cli.preflight_view import preflight_table
    from transferflow.stages.run import run_preflight

    _log_to_terminal()
    found, sheet = run_preflight(spec, context)
    out = output()
    out.print(preflight_table(found), soft_wrap=False)
    for warning in found.warnings:
        out.print(f"warning: {warning}")
    out.print(f"training images: {sheet}")


def run_as_flow(spec: Path, overrides: Sequence[str], context: RunContext) -> tuple[StageOutcome, ...]:
    """Run the stages as a Prefect flow."""
    outcomes: tuple[StageOutcome, ...] = import_module("transferflow.pipelines.flows").run_flow(
        spec, overrides, context
    )
    return outcomes


def run_here(spec: ExperimentSpec, context: RunContext, quiet: bool) -> tuple[StageOutcome, ...]:
    """Run the stages in this process alone, and tell what they do unless it is to be quiet."""
    from transferflow.stages.run import run_plan

    _log_to_terminal()
    return run_plan(spec, context, on_stage=None if quiet else _print_stage)


def plan(
    spec: SpecFile,
    overrides: Override = None,
    home: Home = None,
    tracking_uri: TrackingUri = None,
    offline: Offline = False,
    rates: Annotated[
        bool, typer.Option("--rates", help="Also show each rate in each epoch, and draw it.")
    ] = False,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Also show every value that the spec left open.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a run would do, and why: stages, images, what trains at which rate; changes nothing."""
    loaded = load_spec(spec, overrides or ())
    from transferflow.cli.plan_view import plan_view
    from transferflow.stages.context import build_context
    from transferflow.stages.plan.compile import compile_plan

    context = build_context(home, tracking_uri, offline)
    with naming_the_spec(spec, overrides or ()):
        compiled = compile_plan(loaded, context)
    rows = _rates(compiled) if rates else ()
    if as_json:
        document = compiled.to_json() | ({"rates": [asdict(row) for row in rows]} if rates else {})
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    out = output()
    out.print(plan_view(compiled, defaults), soft_wrap=False)
    if rates:
        from transferflow.cli.rates_table import rates_table
        from transferflow.cli.rates_view import draw_rates

        figure = context.reports / f"{loaded.name}-rates.svg"
        draw_rates(rows, figure)
        out.print(rates_table(rows, out.width), soft_wrap=False)
        out.print(f"figure: {figure}")


def _rates(compiled: Plan) -> tuple[RateRow, ...]:
    from transferflow.stages.plan.epoch_rates import epoch_rates  # loads torch

    return epoch_rates(compiled)


def _log_to_terminal() -> None:
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    if get_logger().level == logging.NOTSET:
        get_logger().setLevel(logging.INFO)


def _print_stage(outcome: StageOutcome) -> None:
    how = "reused" if outcome.reused else "done"
    with read_or_not(sys.stdout):
        output().print(f"{outcome.stage}: {how} {outcome.key[:12]} ({outcome.seconds:.1f} s)")


def print_summary(spec: Path, outcomes: Sequence[StageOutcome]) -> None:
    """Print metrics, verdict, version and report of a run that came to its end."""
    with read_or_not(sys.stdout):
        _print_summary(spec, outcomes)


def _print_summary(spec: Path, outcomes: Sequence[StageOutcome]) -> None:
    from transferflow.stages.register.standing import describe_standing

    by_stage = {outcome.stage: outcome for outcome in outcomes}
    out = output()
    out.print()
    for name, metric in by_stage["evaluate"].summary["metrics"].items():
        interval = (
            ""
            if metric["low"] is None
            else f"  (95 % {four_digits(metric['low'])} to {four_digits(metric['high'])})"
        )
        value = "not defined" if metric["value"] is None else four_digits(metric["value"])
        note = f"  {printable(metric['reason'])}" if metric["reason"] else ""
        out.print(f"{name:<28} {value}{interval}{note}")
    for sentence in by_stage["evaluate"].summary["worst_slices"]:
        out.print(printable(sentence))
    baselines = by_stage["evaluate"].summary["baselines"]
    if baselines:
        values = ", ".join(f"{name} {four_digits(value)}" for name, value in baselines.items())
        out.print(f"{'baselines':<28} {values}")
    registered = by_stage["register"].summary
    out.print(f"\nkept      {by_stage['train'].summary['kept']}")
    out.print(f"verdict   {registered['verdict']}: {printable('; '.join(registered['reasons']))}")
    for line in describe_standing(registered):
        out.print(f"          {printable(line)}")
    aliases = ", ".join(registered["aliases"]) or "no alias"
    out.print(f"model     {registered['model']} version {registered['version']} ({aliases})")
    out.print(f"report    {registered['report']}")
    out.print("\nnext:")
    version = "" if "champion" in registered["aliases"] else f"/{registered['version']}"
    out.print(f"  transferflow predict {registered['model']}{version} IMAGE…   # use the model")
    out.print(f"  transferflow plan {spec}   # see what a changed line would run again")
