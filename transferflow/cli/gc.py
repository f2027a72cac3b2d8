"""`transferflow gc`."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from transferflow.cli.console import output
from transferflow.cli.options import Home, TrackingUri
from transferflow.text import counted, printable

_UNITS = ("B", "kB", "MB", "GB", "TB")


def gc(
    keep: Annotated[
        int, typer.Option("--keep", metavar="N", min=1, help="Last runs of each spec that stay.")
    ] = 5,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")
    ] = False,
    home: Home = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Remove artifacts and abandoned trainings that no champion, challenger, refresh or last run needs.

    What is in use, or younger than a day, stays. Reports go with their runs; each spec's latest stays, and so
    do the versions in the registry, which keeps reports of its own.
    """
    from transferflow.stages.context import build_context
    from transferflow.stages.garbage import collect_garbage

    context = build_context(home, tracking_uri)
    found = collect_garbage(context, keep, dry_run)
    out = output()
    for (kind, stage), count in sorted(Counter((each.kind, each.stage) for each in found.removed).items()):
        size = sum(each.size for each in found.removed if (each.kind, each.stage) == (kind, stage))
        out.print(printable(f"{kind}/{stage}: {counted(count, 'folder')}, {_bytes(size)}"))
    if found.pages:
        size = sum(page.size for page in found.pages)
        out.print(f"reports: {counted(len(found.pages), 'file')}, {_bytes(size)}")
    if found.in_use:
        out.print(f"in use, left alone: {len(found.in_use):,}")
    verb = "would be freed" if dry_run else "freed"
    out.print(f"{_bytes(found.freed)} {verb}; {counted(found.kept, 'folder')} left")


def _bytes(size: float) -> str:
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return ""
