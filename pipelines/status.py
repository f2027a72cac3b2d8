"""How deployments stand: last and next run, champion, data, workers; and what needs a person."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort

from transferflow.errors import TransferflowError
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import registered_model
from transferflow.spec.load import load_spec
from transferflow.stages.context import RunContext
from transferflow.stages.refresh.record import RefreshRecord, read_record

from .deployment_changes import folder_of, spec_of
from .homes import home_of
from .project import spec_digest
from .server import answered, configured_server
from .wanted import TAG

LATE_SECONDS = 15 * 60.0
"""How late a run may start before somebody should look."""
_PRUNE = "`transferflow deploy --prune`, with the specs that there are, removes it"
_PAGE = 200
_AT_ONCE = 8
_STARTED = [kind for kind in StateType if kind is not StateType.SCHEDULED]
_ENDED_BADLY = (StateType.FAILED, StateType.CRASHED)


@dataclass(frozen=True)
class RunStanding:
    """A run, for people.

    Attributes:
        id: Its id.
        state: Name of its state.
        at: When it started, or is to start; ISO 8601.
        message: What its state says.
        failed: Whether it ended badly.
    """

    id: str
    state: str
    at: str
    message: str
    failed: bool = False


@dataclass(frozen=True)
class Standing:
    """One deployment.

    Attributes:
        name: Flow and deployment.
        work_pool: Where it runs.
        workers: Online workers of that pool.
        paused: Whether an operator paused it.
        last: Its last run that started.
        next: Its next run.
        champion: The champion's version; empty: none, or not on this machine.
        champion_since: When it was decided.
        data: What the last look at the data decided, in words.
        data_at: When data was last trained on by a refresh.
        problems: What needs a person, a sentence each.
    """

    name: str
    work_pool: str
    workers: int
    paused: bool
    last: RunStanding | None
    next: RunStanding | None
    champion: str = ""
    champion_since: str = ""
    data: str = ""
    data_at: str = ""
    problems: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class _Local:
    """What this machine knows of a deployment's spec."""

    problems: tuple[str, ...] = ()
    champion: str = ""
    since: str = ""
    record: RefreshRecord = field(default_factory=RefreshRecord)


def read_status() -> list[Standing]:
    """How all deployments that transferflow made stand.

    Raises:
        FlowError: If no server is configured, or it does not answer or refuses.
    """
    url = configured_server()
    with answered(url):
        return asyncio.run(_read())


def decide_problems(standing: Standing, local: Sequence[str], stopped: str, now: datetime) -> tuple[str, ...]:
    """What about a deployment needs a person.

    Args:
        standing: The deployment.
        local: What is wrong with its spec on this machine.
        stopped: Why its refresh stopped; empty if it did not.
        now: The time.
    """
    found = list(local)
    if standing.last is not None and standing.last.failed:
        found.append(f"its last run ended as {standing.last.state}: {standing.last.message}")
    if stopped and not (standing.last and standing.last.failed):
        found.append(f"its refresh stopped: {stopped}")
    due = standing.next
    if due is not None and (now - datetime.fromisoformat(due.at)).total_seconds() > LATE_SECONDS:
        why = "" if standing.workers else f": no worker of the pool {standing.work_pool} is online"
        found.append(f"a run is late since {due.at}{why}")
    return tuple(found)


def describe_look(record: RefreshRecord) -> str:
    """What the last look at the data came to, in words: its decision, or the training that came of it."""
    decision, trained = record.decision, record.trained
    if decision is None:
        return ""
    if decision.action == "train" and trained is not None and record.base != trained.key:
        return f"trained, {trained.verdict}: {decision.reason}"
    return f"{decision.action}: {decision.reason}"


async def _read() -> list[Standing]:
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    async with get_client() as client:
        deployments: list[DeploymentResponse] = []
        while page := await client.read_deployments(
            deployment_filter=ours, limit=_PAGE, offset=len(deployments)
        ):
            deployments += page
        pools = sorted({found.work_pool_name for found in deployments if found.work_pool_name})
        workers = {pool: await _online(client, pool) for pool in pools}
        flows = {flow.id: flow.name for flow in await client.read_flows(deployment_filter=ours)}
        places = asyncio.Semaphore(_AT_ONCE)

        async def read(found: DeploymentResponse) -> Standing:
            async with places:
                name = f"{flows.get(found.flow_id, '?')}/{found.name}"
                return await _standing(client, found, name, workers.get(found.work_pool_name or "", 0))

        standings = await asyncio.gather(*map(read, deployments))
    return sorted(standings, key=lambda each: each.name.partition("/")[::-1])


async def _standing(client: PrefectClient, found: DeploymentResponse, name: str, workers: int) -> Standing:
    last = await _one_run(client, found, _STARTED, FlowRunSort.START_TIME_DESC)
    due = await _one_run(client, found, [StateType.SCHEDULED], FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC)
    local = await asyncio.to_thread(_look_here, found)
    decision = local.record.decision if name.startswith("refresh/") else None
    bare = Standing(
        name=name,
        work_pool=found.work_pool_name or "",
        workers=workers,
        paused=found.paused or any(not each.active for each in found.schedules),
        last=_describe(last, last.start_time) if last else None,
        next=_describe(due, due.next_scheduled_start_time or due.expected_start_time) if due else None,
        champion=local.champion,
        champion_since=local.since,
        data=describe_look(local.record) if decision else "",
        data_at=local.record.trained.at if local.record.trained else "",
    )
    stopped = decision.reason if decision and decision.action == "stop" else ""
    problems = decide_problems(bare, local.problems, stopped, datetime.now(UTC))
    return replace(bare, problems=problems)


def _look_here(found: DeploymentResponse) -> _Local:
    """Spec, champion and data, where the project's folder is on this machine."""
    folder = Path(folder_of(found))
    if not folder_of(found) or not folder.is_dir() or "spec" not in found.parameters:
        return _Local()
    path = folder / str(found.parameters["spec"])
    try:
        problem = _spec_problem(found, path)
        if problem:
            return _Local((f"{problem}, in {folder}",))
        spec = load_spec(path, found.parameters.get("overrides") or ())
        context = RunContext(home_of(found.parameters, found), found.parameters.get("tracking_uri"))
        return _with_champion(spec, context)
    except TransferflowError as error:
        first = error.problems[0]
        return _Local((f"{first.where}: {first.what}; {first.hint}".rstrip("; "),))


def _spec_problem(found: DeploymentResponse, path: Path) -> str:
    """Why a deployment's spec is not what was deployed, and what to do; empty if it is.

    Raises:
        TransferflowError: If the spec is wrong.
    """
    said, pinned = found.parameters["spec"], found.parameters.get("sha256")
    if not path.is_file():
        return f"its spec {said} is gone; {_PRUNE}"
    if not pinned or spec_digest(path) == pinned:
        return ""
    name, deployed = load_spec(path, found.parameters.get("overrides") or ()).name, spec_of(found.name)
    if name != deployed:
        return f"its spec {said} is called {name} now, not {deployed}; {_PRUNE}"
    return f"its spec {said} was changed since, so that its runs stop; deploy it: transferflow deploy {said}"


def _with_champion(spec: ExperimentSpec, context: RunContext) -> _Local:
    record = read_record(context.refresh_record(spec.name))
    champion = context.registry.champion(registered_model(spec))
    if champion is None:
        return _Local(record=record)
    return _Local((), f"{champion.model}/{champion.version}", champion.tags.get("decided", ""), record)


async def _one_run(
    client: PrefectClient, found: DeploymentResponse, states: Sequence[StateType], sort: FlowRunSort
) -> FlowRun | None:
    only = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))))
    runs = await client.read_flow_runs(
        flow_run_filter=only,
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[found.id])),
        sort=sort,
        limit=1,
    )
    return next(iter(runs), None)


async def _online(client: PrefectClient, pool: str) -> int:
    workers = await client.read_workers_for_work_pool(pool)
    return sum(worker.status is WorkerStatus.ONLINE for worker in workers)


def _describe(run: FlowRun, at: datetime | None) -> RunStanding:
    state = run.state
    return RunStanding(
        id=str(run.id),
        state=(state.name if state else None) or "?",
        at=at.astimezone(UTC).isoformat(timespec="seconds") if at else "",
        message=next(iter((state.message or "").splitlines()), "") if state else "",
        failed=state is not None and state.type in _ENDED_BADLY,
    )
