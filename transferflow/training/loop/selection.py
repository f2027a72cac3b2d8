"""Which epoch is best, and when to stop: pure functions of the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

History = Sequence[Mapping[str, float]]


def decide_best(history: History, metric: str, *, lower_is_better: bool) -> int:
    """Position of the epoch with the best metric; the latest of equals.

    A handful of validation images is soon all right; the epochs after that still learn.

    Args:
        history: At least one row.
        metric: Key that every row has.
        lower_is_better: Direction.
    """
    sign = 1.0 if lower_is_better else -1.0
    return min(range(len(history)), key=lambda row: (sign * history[row][metric], -row))


def decide_stop(history: History, metric: str, *, lower_is_better: bool, patience: int | None) -> bool:
    """Whether the last `patience` epochs all failed to beat the best before them."""
    if patience is None or not history:
        return False
    values = [row[metric] for row in history]
    best = values.index(min(values) if lower_is_better else max(values))
    return len(values) - 1 - best >= patience
