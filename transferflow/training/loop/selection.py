"""Which epoch is best, and when a phase or the training ends: pure functions of the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from transferflow.training.job import FreezeSchedule

History = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Criterion:
    """What epochs are compared by.

    Attributes:
        metric: Key that every row of the history has.
        lower_is_better: Direction.
        patience: Epochs without improvement that end a phase; `None`: none does.
    """

    metric: str
    lower_is_better: bool
    patience: int | None = None

    def cost(self, row: Mapping[str, float]) -> float:
        """The metric, turned so that less is better."""
        return row[self.metric] if self.lower_is_better else -row[self.metric]


def decide_best(history: History, criterion: Criterion) -> int:
    """Position of the last epoch that was better than all before it: the first of equals.

    Patience counts from the same epoch, so that what is kept and what is said of the rest agree.

    Args:
        history: At least one row.
        criterion: What they are compared by.
    """
    return _progress(history, criterion)[-1]


def decide_phases(planned: FreezeSchedule, history: History, criterion: Criterion) -> FreezeSchedule:
    """The phases as they came: one whose patience ran out has ended there, and the rest follows earlier.

    Patience counts within a phase: what was reached in an earlier one, with other layers, is no measure. A
    phase keeps its planned length otherwise; the last one lasts until the end of training.

    Args:
        planned: The phases as the spec has them.
        history: A row per finished epoch.
        criterion: What they are compared by.
    """
    first, phases = 0, []
    for phase, following in pairwise(planned.phases):
        phases.append(replace(phase, first_epoch=first))
        length = following.first_epoch - phase.first_epoch
        ran_out = _rows_until_patience_ran_out(history[first : first + length], criterion)
        first += length if ran_out is None else ran_out
    phases.append(replace(planned.phases[-1], first_epoch=first))
    return replace(planned, phases=tuple(phases))


def decide_stop(phases: FreezeSchedule, history: History, criterion: Criterion) -> bool:
    """Whether patience ran out in the last phase, which ends the training.

    Args:
        phases: The phases as they came, see `decide_phases`.
        history: A row per finished epoch.
        criterion: What they are compared by.
    """
    rows = history[phases.phases[-1].first_epoch :]
    return _rows_until_patience_ran_out(rows, criterion) is not None


def _rows_until_patience_ran_out(rows: History, criterion: Criterion) -> int | None:
    """How many rows it took until `patience` in a row had failed to beat the best before them."""
    if criterion.patience is None:
        return None
    for better, following in pairwise([*_progress(rows, criterion), len(rows)]):
        if following - better > criterion.patience:
            return better + criterion.patience + 1
    return None


def _progress(rows: History, criterion: Criterion) -> list[int]:
    """Positions of the rows that are better than all before them; a tie is no progress."""
    found: list[int] = []
    for at, row in enumerate(rows):
        if not found or criterion.cost(row) < criterion.cost(rows[found[-1]]):
            found.append(at)
    return found
