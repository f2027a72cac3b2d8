"""The step that every stage is run as: it turns an outcome, or an expected error, into a run state.

Steps pass on small JSON references, never tensors or models. A stage that was reused shows as `Cached`:
that is decided by the artifact store, not by Prefect's own cache, which knows neither the runs made
without Prefect nor whether the files are still there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.states import Completed, Failed

from transferflow.errors import InterruptedRunError, TransferflowError
from transferflow.logs import get_logger
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.outcome import StageName, StageOutcome

logger = get_logger()
Reference = dict[str, Any]


@task(cache_policy=NO_CACHE, persist_result=True, result_serializer="json")
def stage_step(
    stage: StageName, spec: ExperimentSpec, context: RunContext, before: Sequence[Reference]
) -> State[Reference]:
    """Run a stage, given the outcomes of those before it; a large data set is read by mapped steps."""
    from transferflow.stages.run import run_stage

    from .inspection import mapped_inspection

    outcomes = tuple(StageOutcome.from_json(outcome) for outcome in before)
    inspection = partial(mapped_inspection, spec.execution.prepare)
    return state_of(lambda: run_stage(stage, spec, context, outcomes, inspection))


def state_of(stage: Callable[[], StageOutcome]) -> State[Reference]:
    """Run a stage; the state carries its outcome as JSON."""
    try:
        outcome = stage()
    except TransferflowError as error:
        return failed_state(error)
    if outcome.reused:
        logger.info("%s: reused %s", outcome.stage, outcome.key[:12])
        return Completed(name="Cached", message="nothing that it depends on changed", data=outcome.to_json())
    logger.info("%s: done in %.1f s", outcome.stage, outcome.seconds)
    return Completed(message=f"done in {outcome.seconds:.1f} s", data=outcome.to_json())


def failed_state(error: TransferflowError) -> State[Any]:
    """The error as a state: its message is shown, and no traceback."""
    name = "Interrupted" if isinstance(error, InterruptedRunError) else "Failed"
    return Failed(name=name, message=str(error), data=error)
