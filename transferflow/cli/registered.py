"""`transferflow models`: what a person does with registered versions."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from transferflow.cli.console import output
from transferflow.cli.help import examples
from transferflow.cli.options import Home, Json, TrackingUri
from transferflow.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from transferflow.registry.base import RegisteredVersion
    from transferflow.registry.mlflow_keeping import MlflowKeeping
    from transferflow.registry.mlflow_registry import MlflowRegistry

models = typer.Typer(help="The versions in the model registry.", no_args_is_help=True)

Version = Annotated[
    str,
    typer.Argument(metavar="NAME/VERSION", help="The version, as in my-model/3 or my-model@challenger."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The registered model.")]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the model's audit trail.")
]


@models.callback()
def group() -> None:
    """The versions in the model registry."""


@models.command("list", epilog=examples("models list", "models list my-model --json"))
def list_(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One model; left out: all of them.")
    ] = None,
    as_json: Json = False,
    home: Home = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """List versions, the newest first, with their aliases, verdicts and the gate's metric."""
    from transferflow.cli.registered_view import version_json, versions_table

    _, keeping = _open(home, tracking_uri)
    found = [
        (version, keeping.measured(version))
        for model in ([_model(name)] if name else keeping.models())
        for version in keeping.versions(model)
    ]
    if as_json:
        sys.stdout.write(json.dumps([version_json(*one) for one in found], indent=2) + "\n")
    elif found:
        output().print(versions_table(found), soft_wrap=False)
    else:
        output().print("the registry is empty: `transferflow run SPEC` registers a model")


@models.command("show", epilog=examples("models show my-model", "models show my-model/3 --json"))
def show(
    version: Annotated[
        str, typer.Argument(metavar="NAME[/VERSION]", help="The version; of a name alone its champion.")
    ],
    as_json: Json = False,
    home: Home = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Show a version: verdict and reasons, metrics with their intervals, where it came from, its trail."""
    from transferflow.cli.registered_view import version_json, version_text

    registry, keeping = _open(home, tracking_uri)
    found = _find(registry, version)
    measured, trail = keeping.measured(found), keeping.trail(found.model)
    mine = [event for event in trail if found.version in (event.version, event.replaced)]
    if as_json:
        sys.stdout.write(json.dumps(version_json(found, measured, mine), indent=2) + "\n")
    else:
        output().print(printable(version_text(found, measured, mine)))


@models.command("promote", epilog=examples("models promote my-model/3 --reason 'version 4 is too slow'"))
def promote(
    version: Version, reason: Reason = "", home: Home = None, tracking_uri: TrackingUri = None
) -> None:
    """Make a version the champion by hand, whatever the gate said; also the way back to a former champion."""
    registry, _ = _open(home, tracking_uri)
    found = _find(registry, version)
    former = registry.champion(found.model)
    _say_champion(registry.promote(found, reason), former)


@models.command("rollback", epilog=examples("models rollback my-model --reason 'wrong labels in May'"))
def rollback(name: Name, reason: Reason = "", home: Home = None, tracking_uri: TrackingUri = None) -> None:
    """Make the version champion that the present one replaced; again, the one before that."""
    _, keeping = _open(home, tracking_uri)
    _say_champion(*keeping.rollback(_model(name), reason))


@models.command("delete", epilog=examples("models delete my-model/2 --reason 'trained on leaked images'"))
def delete(
    version: Version, reason: Reason = "", home: Home = None, tracking_uri: TrackingUri = None
) -> None:
    """Delete a version and its run; the champion and the reference can't be deleted."""
    registry, keeping = _open(home, tracking_uri)
    found = _find(registry, version)
    keeping.delete(found, reason)
    output().print(printable(f"{found.model}: version {found.version} is deleted"))


@models.command("repair", epilog=examples("models repair my-model"))
def repair(name: Name, home: Home = None, tracking_uri: TrackingUri = None) -> None:
    """Carry out the verdicts of versions that a kill left half registered."""
    _, keeping = _open(home, tracking_uri)
    settled = keeping.repair(_model(name))
    for version in settled:
        verdict, aliases = version.tags["verdict"], ", ".join(version.aliases) or "no alias"
        output().print(
            printable(f"{version.model}: version {version.version} is settled: {verdict} ({aliases})")
        )
    if not settled:
        output().print(printable(f"{name}: nothing to repair"))


def _open(home: Path | None, tracking_uri: str | None) -> tuple[MlflowRegistry, MlflowKeeping]:
    from transferflow.stages.context import build_context

    context = build_context(home, tracking_uri)
    return context.registry, context.keeping


def _model(name: str) -> str:
    from transferflow.registry.base import parse_model_name

    return parse_model_name(name)


def _find(registry: MlflowRegistry, version: str) -> RegisteredVersion:
    from transferflow.registry.base import parse_reference

    return registry.find(*parse_reference(version))


def _say_champion(champion: RegisteredVersion, former: RegisteredVersion | None) -> None:
    before = f"version {former.version}" if former else "no version"
    output().print(
        printable(f"{champion.model}: version {champion.version} is the champion; it was {before}")
    )
