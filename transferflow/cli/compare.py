"""`transferflow compare`."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import BaseModel

from transferflow.cli.console import errors, output
from transferflow.cli.options import Home, Json, Quiet, TrackingUri
from transferflow.text import printable

if TYPE_CHECKING:
    from transferflow.stages.compare import ModelComparison


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="OLD... NEW",
            help="Two or more models, the newest last: NAME (its champion), NAME@ALIAS, NAME/VERSION, a "
            "run's name (its last version), a spec's file, or (but for the last) a bundle's folder.",
        ),
    ],
    as_json: Json = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Where the page with the images goes; default: the home's reports.",
        ),
    ] = None,
    home: Home = None,
    tracking_uri: TrackingUri = None,
    quiet: Quiet = False,
) -> None:
    """Measure models on the test images of the last one: metrics, classes, images, specs, data, speed.

    Images that an older one was trained on are left out of its comparison and counted.
    """
    if len(models) < 2:
        raise typer.BadParameter("name at least two models, the newest last")
    from transferflow.cli.compare_view import compare_parts, comparison_facts, print_parts, without_pictures
    from transferflow.report.tables_page import write_tables_page
    from transferflow.stages.compare import compare_models
    from transferflow.stages.context import build_context

    context = build_context(home, tracking_uri)
    with TemporaryDirectory(prefix="transferflow-") as scratch:
        found = compare_models(models, context, Path(scratch))
    if as_json:
        sys.stdout.write(json.dumps(_plain(found), indent=2) + "\n")
        return
    title = " and ".join([*(pair.name for pair in found.pairs), found.name])
    parts = compare_parts(found)
    print_parts(output(), title, comparison_facts(found), without_pictures(parts))
    page = html or context.reports / "comparison.html"
    write_tables_page(page, title, "comparison", comparison_facts(found), parts)
    if not quiet:
        errors().print(printable(f"page: {page}"))


def _plain(found: ModelComparison) -> object:
    """Plain JSON: JSON has no `nan`, and holds `null` instead."""

    def clean(value: object) -> object:
        match value:
            case float() if not math.isfinite(value):
                return None
            case dict():
                return {str(key): clean(part) for key, part in value.items()}
            case list() | tuple() | frozenset() | set():
                return [clean(part) for part in (sorted(value) if isinstance(value, frozenset) else value)]
            case Path():
                return str(value)
            case BaseModel():
                return value.model_dump(mode="json")
            case _:
                return value

    return clean(asdict(found))
