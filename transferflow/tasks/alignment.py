"""Predictions over other classes, led to the classes of now: how a champion is measured on new data."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

_BY_CLASS = (("probabilities", pa.float32(), 0.0), ("decided", pa.bool_(), False))
"""Columns with a value per class, and what stands there of a class that was not known."""


def align_same(old: tuple[str, ...], new: tuple[str, ...]) -> Callable[[pa.Table], pa.Table] | None:
    """For answers that mean nothing under other classes: as they are, or not at all."""
    return (lambda table: table) if old == new else None


def align_probabilities(old: tuple[str, ...], new: tuple[str, ...]) -> Callable[[pa.Table], pa.Table]:
    """Probabilities in the order of the new classes; that of a class which was not known is 0.

    What the old model says by thresholds of its own goes with them.
    """
    if old == new:
        return lambda table: table
    place = {name: number for number, name in enumerate(old)}

    def lead(table: pa.Table) -> pa.Table:
        led = {"id": table["id"]}
        for column, kind, nothing in _BY_CLASS:
            if column in table.column_names:
                rows = [
                    [row[place[name]] if name in place else nothing for name in new]
                    for row in table[column].to_pylist()
                ]
                led[column] = pa.array(rows, pa.list_(kind, len(new)))
        return pa.table(led)

    return lead
