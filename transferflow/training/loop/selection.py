"""Which epoch is best, and when a phase or the training ends: pure functions of the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from transferflow.training.job import FreezeSchedule

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


def decide_phases(
    planned: FreezeSchedule, history: History, metric: str, *, lower_is_better: bool, patience: int | None
) -> FreezeSchedule:
    """The phases as they came: one whose patience ran out has ended there, and the rest follows earlier.

    Patience counts within a phase: what was reached in an earlier one, with other layers, is no measure. A
    phase keeps its planned length otherwise; the last one lasts until the end of training.

    Args:
        planned: The phases as the spec has them.
        history: A row per finished epoch.
        metric: Key that every row has.
        lower_is_better: Direction.
        patience: Epochs without improvement that end a phase; `None`: none does.
    """
    first, phases = 0, []
    for phase, following in zip(planned.phases, planned.phases[1:], strict=False):
        phases.append(replace(phase, first_epoch=first))
        length = following.first_epoch - phase.first_epoch
        rows = history[first : first + length]
        ran_out = _rows_until_patience_ran_out(rows, metric, lower_is_better, patience)
        first += length if ran_out is None else ran_out
    phases.append(replace(planned.phases[-1], first_epoch=first))
    return replace(planned, phases=tuple(phases))


def decide_stop(
    phases: FreezeSchedule, history: History, metric: str, *, lower_is_better: bool, patience: int | None
) -> bool:
    """Whether patience ran out in the last phase, which ends the training.

    Args:
        phases: The phases as they came, see `decide_phases`.
        history: A row per finished epoch.
        metric: Key that every row has.
        lower_is_better: Direction.
        patience: Epochs without improvement that are enough; `None`: there are never enough.
    """
    rows = history[phases.phases[-1].first_epoch :]
    return _rows_until_patience_ran_out(rows, metric, lower_is_better, patience) is not None


def _rows_until_patience_ran_out(
    rows: History, metric: str, lower_is_better: bool, patience: int | None
) -> int | None:
    """How many rows it took until `patience` in a row had failed to beat the best before them."""
    sign = 1.0 if lower_is_better else -1.0
    best, best_at = float("inf"), 0
    for at, row in enumerate(rows):
        if at == 0 or sign * row[metric] < best:  # a tie is no progress
            best, best_at = sign * row[metric], at
        if patience is not None and at - best_at >= patience:
            return at + 1
    return None
