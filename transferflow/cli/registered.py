"""`transferflow models`: what a person does with registered versions."""

from __future__ import annotations

from typing import Annotated

import typer

from transferflow.cli.console import output
from transferflow.cli.help import examples
from transferflow.cli.options import Home, TrackingUri
from transferflow.text import printable

models = typer.Typer(help="The versions in the model registry.", no_args_is_help=True)


@models.callback()
def group() -> None:
    """The versions in the model registry."""


@models.command("promote", epilog=examples("models promote my-model/3 --reason 'version 4 is too slow'"))
def promote(
    version: Annotated[
        str,
        typer.Argument(metavar="NAME/VERSION", help="The version, as in my-model/3 or my-model@challenger."),
    ],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; kept as a tag of the version.")
    ] = "",
    home: Home = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Make a version the champion by hand, whatever the gate said; also the way back to a former champion."""
    from transferflow.registry.base import parse_reference
    from transferflow.stages.context import build_context

    registry = build_context(home, tracking_uri).registry
    found = registry.find(*parse_reference(version))
    former = registry.champion(found.model)
    promoted = registry.promote(found, reason)
    before = f"version {former.version}" if former else "no version"
    output().print(
        printable(f"{promoted.model}: version {promoted.version} is the champion; it was {before}")
    )
