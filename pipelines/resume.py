"""The flow `resume`: what `transferflow resume` does once, as a deployment, for workers that are not ours."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas import State
from prefect.states import Completed

from transferflow.errors import FlowError
from transferflow.logs import get_logger

from .logs import logs_sent_to_server
from .recovery import resume_runs
from .steps import failed_state

logger = get_logger()


@flow(name="resume", retries=0)
def resume() -> State[Any]:
    """Send runs whose process died, and whose home the worker shares, on from their checkpoint."""
    try:
        with logs_sent_to_server():
            found = resume_runs()
            for run in found:
                logger.info("%s: %s after start %d of %d", run.name, run.verb, run.starts, run.retries + 1)
    except FlowError as error:
        return failed_state(error)
    return Completed(message=f"{len(found)} dead runs" if found else "no run is dead")
