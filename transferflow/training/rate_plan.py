"""The learning rate of every group at every epoch, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transferflow.training.job import FreezeSchedule, GroupRate, OptimizerSettings
from transferflow.training.schedule import scale_at


@dataclass(frozen=True)
class RateRow:
    """One group (or block, where rates differ inside a group) in one epoch.

    Attributes:
        group: Layer group's name.
        block: Block's name; equal to the group's unless rates differ inside it.
        epoch: Epoch, from 0.
        frozen: Whether it is frozen then; its rates below are 0.
        lr_start: Learning rate at the epoch's first step.
        lr_end: Learning rate at its last step.
        weight_decay: Weight decay of the parameters that have one.
    """

    group: str
    block: str
    epoch: int
    frozen: bool
    lr_start: float
    lr_end: float
    weight_decay: float


def rate_table(
    rates: Sequence[GroupRate],
    freeze: FreezeSchedule,
    optimizer: OptimizerSettings,
    epochs: int,
    steps_per_epoch: int,
) -> tuple[RateRow, ...]:
    """Tabulate what the optimizer will hold: a row per entry of `rates` and epoch, in that order.

    Args:
        rates: Rates of the groups.
        freeze: Freeze schedule.
        optimizer: Optimizer and schedule.
        epochs: Epochs of the training.
        steps_per_epoch: Steps in an epoch.
    """
    ends = [
        tuple(
            scale_at(
                optimizer,
                freeze,
                epoch=epoch,
                step=step,
                steps_per_epoch=steps_per_epoch,
                epochs=epochs,
            )
            for step in (0, steps_per_epoch - 1)
        )
        for epoch in range(epochs)
    ]
    return tuple(
        _row(rate, epoch, rate.group in freeze.at(epoch).frozen, start, end)
        for rate in rates
        for epoch, (start, end) in enumerate(ends)
    )


def _row(rate: GroupRate, epoch: int, frozen: bool, start: float, end: float) -> RateRow:
    return RateRow(
        group=rate.group,
        block=rate.block,
        epoch=epoch,
        frozen=frozen,
        lr_start=0.0 if frozen else rate.lr * start,
        lr_end=0.0 if frozen else rate.lr * end,
        weight_decay=0.0 if frozen else rate.weight_decay,
    )
