"""The layer table as plain data; `training_plan` makes it, and loads torch."""

from __future__ import annotations

from dataclasses import dataclass

from transferflow.report.contents import LayerRow
from transferflow.training.job import FreezeSchedule, GroupRate


@dataclass(frozen=True)
class TrainingPlan:
    """What the freeze policy and the optimizer section come to on this very model."""

    rates: tuple[GroupRate, ...]
    freeze: FreezeSchedule
    rows: tuple[LayerRow, ...]
