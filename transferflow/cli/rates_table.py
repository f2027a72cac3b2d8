"""`plan --rates` as a table: a row per layer group, a column per epoch, in pages that fit the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Group
from rich.table import Table
from rich.text import Text

from transferflow.training.rate_plan import RateRow

_FRAME = 3
"""What a column of a table takes beside its text: a blank on either side, and a line."""


def rates_table(rows: Sequence[RateRow], width: int) -> Group:
    """Lay the rates out.

    Args:
        rows: Of every group (or block, where rates differ inside a group) in every epoch.
        width: Of the terminal; columns that do not fit beside the others go to a further page.
    """
    blocks = [row.block for row in rows if row.epoch == rows[0].epoch]
    room = width - 1 - _width(blocks)
    pages = _pages([_column(*span) for span in _spans(rows)], room)
    title = Text("learning rate, from the first to the last step of an epoch", style="bold")
    return Group(title, *(_page(blocks, columns) for columns in pages))


def _spans(rows: Sequence[RateRow]) -> Iterator[tuple[int, int, list[RateRow]]]:
    """First and last epoch of each span in which all rates are alike, with the rows of its first epoch."""
    epochs = {epoch: [row for row in rows if row.epoch == epoch] for epoch in {row.epoch for row in rows}}
    for _, span in groupby(sorted(epochs), lambda epoch: [_behaviour(row) for row in epochs[epoch]]):
        numbers = list(span)
        yield numbers[0], numbers[-1], epochs[numbers[0]]


def _behaviour(row: RateRow) -> tuple[bool, float, float]:
    return row.frozen, row.lr_start, row.lr_end


def _column(first: int, last: int, rows: Sequence[RateRow]) -> list[str]:
    """Header and cells."""
    header = f"epoch {first + 1}" if first == last else f"epochs {first + 1} to {last + 1}"
    return [header, *(_cell(row) for row in rows)]


def _cell(row: RateRow) -> str:
    if row.frozen:
        return "frozen"
    start, end = f"{row.lr_start:.2g}", f"{row.lr_end:.2g}"
    return start if start == end else f"{start} → {end}"


def _pages(columns: Sequence[list[str]], room: int) -> Iterator[list[list[str]]]:
    """As many columns as fit side by side, and at least one."""
    page: list[list[str]] = []
    for column in columns:
        if page and sum(map(_width, page)) + _width(column) > room:
            yield page
            page = []
        page.append(column)
    yield page


def _width(column: Sequence[str]) -> int:
    return max(map(len, column)) + _FRAME


def _page(blocks: Sequence[str], columns: Sequence[list[str]]) -> Table:
    table = Table()
    table.add_column("", overflow="fold")
    for header, *_ in columns:
        table.add_column(header, justify="right", overflow="fold")
    for number, block in enumerate(blocks, start=1):
        cells = [column[number] for column in columns]
        table.add_row(block, *(Text(cell, style="cyan" if cell == "frozen" else "") for cell in cells))
    return table
