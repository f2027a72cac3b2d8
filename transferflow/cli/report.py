"""`transferflow report`."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import typer

from transferflow.cli.console import output
from transferflow.cli.options import Home, TrackingUri
from transferflow.text import printable


def report(
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    home: Home = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Write a page over all runs of a home: each with its verdict and report, and each model's history."""
    from transferflow.stages.context import build_context
    from transferflow.stages.index import write_home_index

    path = write_home_index(build_context(home, tracking_uri))
    output().print(printable(str(path)))
    if open_ and not webbrowser.open(path.absolute().as_uri()):
        output().print("no browser could be started: open the file yourself")
