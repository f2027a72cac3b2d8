"""`transferflow init-repo`: the layout of a repository of specs."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from transferflow.cli.console import output
from transferflow.errors import PlanError
from transferflow.store import write_atomic
from transferflow.text import printable

_HIDDEN = {
    "gitignore": ".gitignore",
    "pre-commit-config.yaml": ".pre-commit-config.yaml",
    "github": ".github",
}
"""Names that packages tend to leave out are written without their dot."""


def init_repo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the repository.")],
) -> None:
    """Lay out a repository of specs: an example, a CI workflow that comments what retrains, hooks, a README.

    A file that is there already is never overwritten: then nothing is written at all.
    """
    wanted = dict(_below(files("transferflow.cli") / "repository", folder))
    there = [path for path in wanted if path.exists()]
    if there:
        raise PlanError(
            "a file is there already",
            where=str(there[0]),
            hint="name a new folder, or move these away: " + ", ".join(map(str, there)),
        )
    for path, content in wanted.items():
        write_atomic(path, content)
    out = output()
    for path in wanted:
        out.print(printable(f"wrote     {path}"))
    out.print(printable(f"next:\n  cd {folder} && git init && transferflow validate specs/"))


def _below(source: Traversable, folder: Path) -> list[tuple[Path, bytes]]:
    found: list[tuple[Path, bytes]] = []
    for entry in sorted(source.iterdir(), key=lambda each: each.name):
        target = folder / _HIDDEN.get(entry.name, entry.name)
        found += _below(entry, target) if entry.is_dir() else [(target, entry.read_bytes())]
    return found
