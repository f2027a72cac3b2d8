"""What a preflight has found, as a table."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

from transferflow.report.sections import VERDICTS
from transferflow.text import printable
from transferflow.training.preflight.contents import Preflight


def preflight_table(found: Preflight) -> Table:
    """A row per check: what was found, what is expected, and whether it is fine."""
    table = Table(box=SIMPLE_HEAD)
    for name in ("preflight", "found", "expected", "verdict"):
        table.add_column(name, overflow="fold")
    for check in found.checks:
        row = (check.name, check.found, check.expected, VERDICTS[check.verdict])
        table.add_row(*map(printable, row))
    return table
