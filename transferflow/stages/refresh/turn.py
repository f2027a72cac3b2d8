"""One refresh of a spec at a time, and what is noted when its training has come to an end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.refresh.record import remember_training
from transferflow.store.locks import KeyLock


@contextmanager
def holding_refresh(spec: ExperimentSpec, context: RunContext) -> Iterator[None]:
    """Look, and train, while no other process that shares the home does so for this spec.

    Raises:
        BusyError: If another one does.
    """
    with KeyLock(context.home, "refresh", spec.name).hold(wait=False):
        yield


def remember(spec: ExperimentSpec, context: RunContext, outcomes: Sequence[StageOutcome]) -> None:
    """Note the data of a training that was registered; the next look compares with it.

    Args:
        spec: What was trained.
        context: Surroundings of the run.
        outcomes: Of all stages, in their order.
    """
    remember_training(context.refresh_record(spec.name), outcomes[0], outcomes[-1])
