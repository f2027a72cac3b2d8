"""Predictions over other classes, led to the classes of now: how a champion is measured on new data."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa


def align_same(old: tuple[str, ...], new: tuple[str, ...]) -> Callable[[pa.Table], pa.Table] | None:
    """For answers that mean nothing under other classes: as they are, or not at all."""
    return (lambda table: table) if old == new else None


def align_probabilities(old: tuple[str, ...], new: tuple[str, ...]) -> Callable[[pa.Table], pa.Table]:
    """Probabilities in the order of the new classes; that of a class which was not known is 0."""
    if old == new:
        return lambda table: table
    place = {name: number for number, name in enumerate(old)}

    def lead(table: pa.Table) -> pa.Table:
        rows = [
            [row[place[name]] if name in place else 0.0 for name in new]
            for row in table["probabilities"].to_pylist()
        ]
        return pa.table(
            {"id": table["id"], "probabilities": pa.array(rows, pa.list_(pa.float32(), len(new)))}
        )

    return lead
