"""The flow `refresh`: look at a spec's data, and train again when its rule says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas import State
from prefect.states import Completed

from transferflow.errors import FlowError, TransferflowError
from transferflow.logs import get_logger
from transferflow.spec.load import load_spec
from transferflow.stages.context import build_context
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.refresh.decide import RefreshDecision
from transferflow.store import BusyError

from .flows import spec_run_name, train
from .logs import logs_sent_to_server
from .project import require_pinned
from .run_lock import alive
from .steps import failed_state
from .summary import publish_look

logger = get_logger()


@flow(name="refresh", flow_run_name=spec_run_name, retries=0)
def refresh(
    spec: str,
    overrides: list[str] | None = None,
    home: str | None = None,
    tracking_uri: str | None = None,
    offline: bool = False,
    sha256: str | None = None,
) -> State[Any]:
    """Look whether a spec's data has changed, and train again when `deployment.refresh` says so.

    Args:
        spec: The spec's file, from the working directory.
        overrides: Values to replace, as in `optimizer.lr=3e-4`.
        home: Artifacts and cache; left out: `$TRANSFERFLOW_HOME` or `.transferflow`.
        tracking_uri: MLflow server; left out: `$MLFLOW_TRACKING_URI` or local files.
        offline: Never download weights.
        sha256: What the spec said when it was deployed; a spec that says something else is not run.
    """
    arguments: dict[str, Any] = {
        "overrides": overrides,
        "home": home,
        "tracking_uri": tracking_uri,
        "offline": offline,
    }
    try:
        if sha256 is not None:
            require_pinned(Path(spec), sha256)
        with logs_sent_to_server():
            return _refresh(spec, arguments)
    except BusyError as error:
        return Completed(name="Busy", message=str(error))
    except TransferflowError as error:
        return failed_state(error)


def _refresh(spec: str, arguments: dict[str, Any]) -> State[Any]:
    from transferflow.stages.refresh.look import look_at_data
    from transferflow.stages.refresh.turn import holding_refresh, remember

    loaded = load_spec(Path(spec), arguments["overrides"] or ())
    home = arguments["home"]
    context = build_context(
        Path(home) if home else None, arguments["tracking_uri"], arguments["offline"], wait=True
    )
    with alive(context.home), holding_refresh(loaded, context):
        look = look_at_data(loaded, context)
        logger.info("refresh: %s: %s", look.decision.action, look.decision.reason)
        if look.is_news:
            publish_look(loaded.name, look)
        if look.decision.action != "train":
            return _state_of(look.decision)
        outcomes = [StageOutcome.from_json(each) for each in train(spec=spec, **arguments)]
        remember(loaded, context, outcomes)
    return Completed(message=f"trained again, {outcomes[-1].summary['verdict']}: {look.decision.reason}")


def _state_of(decision: RefreshDecision) -> State[Any]:
    if decision.action == "stop":
        return failed_state(FlowError(decision.reason, where="deployment.refresh"))
    return Completed(name="Waiting" if decision.action == "wait" else "NothingToDo", message=decision.reason)
