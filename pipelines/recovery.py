"""Recovery: runs whose process is dead are sent on from their checkpoint, a limited number of times.

Whoever finds a run that the server takes for running, or knows to have crashed, and whose lock (`run_lock`)
is there and free, knows that it is dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import AwaitingRetry, Cancelled, Crashed, Failed

from transferflow.errors import TransferflowError
from transferflow.spec.load import load_spec
from transferflow.spec.sections.evaluation import Deployment
from transferflow.text import counted

from .deployment_changes import folder_of
from .homes import home_of
from .run_lock import has_run_here, run_lock
from .server import answered, configured_server
from .wanted import TAG

GRACE_SECONDS = 60.0
"""Age of a run's state from which its silence counts.

A process needs some time to take its lock. And Prefect's worker ends itself when it gets a run again that it
has not let go of yet, which takes it more than three seconds after the process has died.
"""
OLDEST_CRASH_SECONDS = 24 * 3600.0
"""Older crashes are left to a person."""
_PAGE = 200
_LOOKED_AT = (StateType.RUNNING, StateType.CRASHED, StateType.CANCELLING)
_BEGUN = (StateType.PENDING, StateType.RUNNING)
Verb = Literal["leave", "send on", "fail", "cancel"]


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run that may be dead.

    Attributes:
        state: Its state on the server.
        seconds: Since it is in that state.
        is_owned: Whether a process holds its lock; `None`: it has none on this machine.
        starts: How often it was started.
        retries: How often it may be started again.
        is_superseded: Whether a later run of the same deployment has started.
        was_cancelled: Whether it crashed as it was cancelled: an engine may not hear why it is ended.
    """

    state: StateType
    seconds: float
    is_owned: bool | None
    starts: int
    retries: int
    is_superseded: bool = False
    was_cancelled: bool = False


@dataclass(frozen=True)
class Recovered:
    """A run that was dead.

    Attributes:
        run_id: Its id.
        name: Its name and its deployment's.
        verb: What became of it.
        starts: How often it was started so far.
        retries: How often it may be started again in all.
    """

    run_id: UUID
    name: str
    verb: Verb
    starts: int
    retries: int


def decide_recovery(run: RunFacts, grace: float = GRACE_SECONDS) -> Verb:
    """Decide what becomes of a run; what runs, and what nobody here knows, is left alone.

    Args:
        run: What is known of it.
        grace: Seconds that its state must be old.
    """
    if run.is_owned is not False or run.seconds < grace:
        return "leave"
    if run.state is StateType.CANCELLING or run.was_cancelled:
        return "cancel"
    if run.state is StateType.CRASHED and (run.is_superseded or run.seconds > OLDEST_CRASH_SECONDS):
        return "leave"
    return "fail" if run.starts > run.retries else "send on"


def resume_runs(grace: float = GRACE_SECONDS) -> list[Recovered]:
    """Find this machine's dead runs and send them on, or end them; again and again without harm.

    Args:
        grace: Seconds that a run's state must be old.

    Raises:
        FlowError: If no server is configured, or it does not answer or refuses.
    """
    url = configured_server()
    with answered(url), get_client(sync_client=True) as client:
        ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
        looked_at = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(_LOOKED_AT)))
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=looked_at),
            deployment_filter=ours,
            sort=FlowRunSort.START_TIME_DESC,
            limit=_PAGE,
        )
        ids = {run.deployment_id for run in runs if run.deployment_id is not None}
        found = (
            client.read_deployments(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(ids))))
            if ids
            else []
        )
        by_id = {deployment.id: deployment for deployment in found}
        done = [
            _recover(client, run, by_id[run.deployment_id], grace)
            for run in runs
            if run.deployment_id in by_id
        ]
    return [each for each in done if each is not None and each.verb != "leave"]


def _recover(
    client: SyncPrefectClient, run: FlowRun, deployment: DeploymentResponse, grace: float
) -> Recovered | None:
    home = home_of(run.parameters, deployment)
    if run.state is None or not has_run_here(home, run.id):
        return None
    retries = _retries(run, deployment)
    with run_lock(home, run.id).hold_if_free() as is_mine:
        now = client.read_flow_run(run.id)  # it may have ended since the list was made
        if now.state is None or now.state.type not in _LOOKED_AT:
            return None
        facts = RunFacts(
            state=now.state.type,
            seconds=(datetime.now(UTC) - now.state.timestamp).total_seconds(),
            is_owned=not is_mine,
            starts=now.run_count,
            retries=retries,
            is_superseded=_is_superseded(client, now),
            was_cancelled=_was_cancelled(client, now),
        )
        verb = decide_recovery(facts, grace)
        if verb != "leave":
            client.set_flow_run_state(run.id, _state_after(verb, facts), force=True)
            _end_steps(client, run.id)
    return Recovered(run.id, f"{run.name} ({deployment.name})", verb, facts.starts, retries)


def _state_after(verb: Verb, facts: RunFacts) -> State[Any]:
    cause = "its process ended without a word: it, its worker or the machine was stopped"
    match verb:
        case "cancel":
            return Cancelled(message="cancelled; its process is gone")
        case "fail":
            times = counted(facts.starts, "time")
            return Failed(message=f"{cause}, {times} (deployment.retries: {facts.retries})")
        case _:
            message = f"{cause}; it goes on from its checkpoint, start {facts.starts + 1}"
            return AwaitingRetry(scheduled_time=datetime.now(UTC), message=message)


def _end_steps(client: SyncPrefectClient, run_id: UUID) -> None:
    """The steps of a dead process, and the runs within its run, would be shown as running for ever.

    A refresh that is sent on begins a training run of its own, which takes up where the other one was.
    """
    ended: State[Any] = Crashed(message="its process ended")
    below = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(_BEGUN))),
    )
    for run in client.read_flow_runs(flow_run_filter=below):
        client.set_flow_run_state(run.id, ended, force=True)
        _end_steps(client, run.id)
    for step in client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])),
        task_run_filter=TaskRunFilter(
            state=TaskRunFilterState(type=TaskRunFilterStateType(any_=list(_BEGUN)))
        ),
    ):
        client.set_task_run_state(step.id, ended, force=True)


def _was_cancelled(client: SyncPrefectClient, run: FlowRun) -> bool:
    if run.state is None or run.state.type is not StateType.CRASHED:
        return False
    states = sorted(client.read_flow_run_states(run.id), key=lambda state: state.timestamp)
    before = [state.type for state in states if state.type is not StateType.CRASHED]
    return bool(before) and before[-1] is StateType.CANCELLING


def _is_superseded(client: SyncPrefectClient, run: FlowRun) -> bool:
    if run.deployment_id is None or run.start_time is None:
        return False
    only = DeploymentFilter(id=DeploymentFilterId(any_=[run.deployment_id]))
    latest = client.read_flow_runs(deployment_filter=only, sort=FlowRunSort.START_TIME_DESC, limit=_PAGE)
    return any(each.start_time is not None and each.start_time > run.start_time for each in latest)


def _retries(run: FlowRun, deployment: DeploymentResponse) -> int:
    overrides: Sequence[str] = run.parameters.get("overrides") or ()
    try:
        path = Path(folder_of(deployment)) / str(run.parameters.get("spec"))
        return load_spec(path, overrides).deployment.retries
    except TransferflowError:
        return Deployment().retries  # the run itself will say what is wrong with its spec
