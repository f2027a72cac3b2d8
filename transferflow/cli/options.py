"""Options that several commands share."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from transferflow.cli.help import SURROUNDINGS
from transferflow.errors import TransferflowError
from transferflow.logs import get_logger
from transferflow.registry.address import require_no_secret
from transferflow.spec.load import read_document, with_places

SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="The spec, a YAML file.")]
Override = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Replace a value, as in optimizer.lr=3e-4; as often as needed."
    ),
]
Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="FOLDER",
        rich_help_panel=SURROUNDINGS,
        help="Artifacts and cache; default: $TRANSFERFLOW_HOME or .transferflow.",
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        callback=require_no_secret,
        metavar="URI",
        rich_help_panel=SURROUNDINGS,
        help="MLflow server; default: $MLFLOW_TRACKING_URI or local files.",
    ),
]
Offline = Annotated[
    bool,
    typer.Option("--offline", rich_help_panel=SURROUNDINGS, help="Never download weights."),
]
Verify = Annotated[
    bool,
    typer.Option("--verify", help="Hash every data file, instead of going by its size and time."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def _set_level(level: int) -> Callable[[bool], bool]:
    def set_level(wanted: bool) -> bool:
        if wanted:
            get_logger().setLevel(level)  # `main` puts it back
        return wanted

    return set_level


Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        callback=_set_level(logging.WARNING),
        help="No progress: results, warnings and errors alone.",
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        callback=_set_level(logging.DEBUG),
        help="Also tell keys, changed inputs, device and arithmetic.",
    ),
]
SpecPaths = Annotated[
    list[Path], typer.Argument(metavar="PATH", help="Specs, or folders that are searched for them.")
]


@contextmanager
def naming_the_spec(spec: Path, overrides: Sequence[str]) -> Iterator[None]:
    """Let errors say where in the spec's file they are, and the very command that fetches missing weights."""
    try:
        yield
    except TransferflowError as error:
        words = shlex.join([str(spec), *(word for value in overrides for word in ("--set", value))])
        found = [
            replace(problem, hint=problem.hint.replace(" SPEC`", f" {words}`"))
            for problem in with_places(read_document(spec, overrides), error.problems)
        ]
        raise type(error).from_problems(found) from error
