"""One step per stage: thin wrappers that turn an outcome, or an expected error, into a run state.

Steps pass on small JSON references, never tensors or models. A stage that was reused shows as `Cached`:
that is decided by the artifact store, not by Prefect's own cache, which knows neither the runs made
without Prefect nor whether the files are still there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.states import Completed, Failed

from transferflow.errors import InterruptedRunError, TransferflowError
from transferflow.logs import get_logger
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.outcome import StageOutcome

logger = get_logger()
Reference = dict[str, Any]


@task(name="prepare", cache_policy=NO_CACHE, persist_result=True, result_serializer="json")
def prepare_step(spec: ExperimentSpec, context: RunContext) -> State[Reference]:
    """Files become a snapshot; those of a large data set are read by mapped steps."""
    from transferflow.stages.prepare import prepare

    from .inspection import mapped_inspection

    return state_of(lambda: prepare(spec, context, mapped_inspection))


@task(name="train", cache_policy=NO_CACHE, persist_result=True, result_serializer="json")
def train_step(spec: ExperimentSpec, context: RunContext, prepared: Reference) -> State[Reference]:
    """A snapshot becomes a trained model."""
    from transferflow.stages.train.stage import train

    return state_of(lambda: train(spec, context, StageOutcome.from_json(prepared)))


@task(name="evaluate", cache_policy=NO_CACHE, persist_result=True, result_serializer="json")
def evaluate_step(
    spec: ExperimentSpec, context: RunContext, prepared: Reference, trained: Reference
) -> State[Reference]:
    """A trained model meets the test images."""
    from transferflow.stages.evaluate.stage import evaluate

    before = StageOutcome.from_json(prepared), StageOutcome.from_json(trained)
    return state_of(lambda: evaluate(spec, context, *before))


@task(name="register", cache_policy=NO_CACHE, persist_result=True, result_serializer="json")
def register_step(
    spec: ExperimentSpec,
    context: RunContext,
    prepared: Reference,
    trained: Reference,
    evaluated: Reference,
) -> State[Reference]:
    """The gate decides, and the registry keeps the model."""
    from transferflow.stages.register.stage import register

    before = (
        StageOutcome.from_json(prepared),
        StageOutcome.from_json(trained),
        StageOutcome.from_json(evaluated),
    )
    return state_of(lambda: register(spec, context, *before))


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
