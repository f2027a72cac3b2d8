"""Deployments: per spec, on a work pool, with the spec's schedule; only what differs is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from transferflow.errors import FlowError, Problem

from .deployment_changes import (
    SLUG,
    Change,
    Orphan,
    decide_change,
    decide_orphan,
    folder_of,
    own_schedule,
)
from .flows import train
from .project import Project
from .refresh import refresh
from .server import answered, configured_server
from .wanted import FlowName, Target, Wanted, build_wanted

_PAGE = 200
_AT_ONCE = 2
"""Requests at once: a server on sqlite answers 503 when more of them write."""
_FLOWS: Mapping[FlowName, Flow[..., Any]] = {"train": train, "refresh": refresh}
NEW_JOB_VARIABLES = {"stream_output": False}
"""The engine's output goes to the server: a pipe to the worker would let the engine die with it."""


@dataclass(frozen=True)
class DeployReport:
    """What `deploy` did, or would do.

    Attributes:
        url: API of the server.
        changes: One per deployment, those that stay as they are among them.
        orphans: Deployments of this project whose spec is gone, and that were left alone.
        pools: Work pools, with their type; of those that are made here it says so.
    """

    url: str
    changes: tuple[Change, ...]
    orphans: tuple[Orphan, ...]
    pools: Mapping[str, str]


@dataclass(frozen=True)
class _Known:
    """What the server has.

    Attributes:
        deployments: Of flows that are called as ours, by flow and name, whoever's they are.
    """

    deployments: Mapping[tuple[FlowName, str], DeploymentResponse]


def deploy_specs(
    targets: Sequence[Target],
    project: Project,
    parameters: Mapping[str, Any],
    *,
    prune: bool = False,
    take_over: bool = False,
    dry_run: bool = False,
) -> DeployReport:
    """Make or update the deployments of specs, and the work pools that are missing.

    Args:
        targets: The specs.
        project: Whose they are.
        parameters: Further parameters of the flows, the same for all.
        prune: Remove the deployments of this project whose spec is gone.
        take_over: Make deployments of another project of the same name this project's.
        dry_run: Change nothing.

    Raises:
        FlowError: If no server is configured, it does not answer or refuses, or a name is another project's.
    """
    url = configured_server()
    wanted = [each for target in targets for each in build_wanted(target, project, parameters)]
    with answered(url):
        return asyncio.run(_deploy(url, wanted, project, prune, take_over, dry_run))


async def _deploy(
    url: str, wanted: Sequence[Wanted], project: Project, prune: bool, take_over: bool, dry_run: bool
) -> DeployReport:
    async with get_client() as client:
        known = await _read_known(client)
        if not take_over:
            _refuse_others(url, wanted, known, project)
        found = [known.deployments.get((each.flow, each.name)) for each in wanted]
        changes = [decide_change(w, f, _schema(w.flow)) for w, f in zip(wanted, found, strict=True)]
        orphans = _decide_orphans(wanted, known, project)
        removed = {key: orphan for key, orphan in orphans.items() if prune or orphan.is_dropped}
        pools = await _read_pools(client, sorted({w.work_pool for w in wanted}), dry_run)
        if not dry_run:
            flows = {
                flow: await client.create_flow(_FLOWS[flow]) for flow in sorted({w.flow for w in wanted})
            }
            work = [
                _apply(client, flows[w.flow], w, change, before)
                for w, change, before in zip(wanted, changes, found, strict=True)
                if change.kind != "unchanged"
            ]
            work += [client.delete_deployment(known.deployments[key].id) for key in removed]
            await _some_at_once(work)
    gone = [Change("removed", orphan.name, orphan.path, lines=(orphan.why,)) for orphan in removed.values()]
    left = tuple(orphan for key, orphan in orphans.items() if key not in removed)
    return DeployReport(url, (*changes, *gone), left, pools)


async def _some_at_once(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    places = asyncio.Semaphore(_AT_ONCE)

    async def run(one: Coroutine[Any, Any, None]) -> None:
        async with places:
            await one

    await asyncio.gather(*map(run, work))


async def _read_known(client: PrefectClient) -> _Known:
    """All deployments of flows that are called as ours, page by page."""
    names: tuple[FlowName, ...] = get_args(FlowName)
    only = FlowFilter(name=FlowFilterName(any_=list(names)))
    by_name = {found.name: found.id for found in await client.read_flows(flow_filter=only)}
    flows = {by_name[name]: name for name in names if name in by_name}
    deployments: dict[tuple[FlowName, str], DeploymentResponse] = {}
    offset = 0
    while flows and (page := await client.read_deployments(flow_filter=only, limit=_PAGE, offset=offset)):
        deployments |= {(flows[found.flow_id], found.name): found for found in page if found.flow_id in flows}
        offset += len(page)
    return _Known(deployments)


def _refuse_others(url: str, wanted: Sequence[Wanted], known: _Known, project: Project) -> None:
    taken = [
        (each, found)
        for each in wanted
        if (found := known.deployments.get((each.flow, each.name))) and project.tag not in found.tags
    ]
    if taken:
        hint = "give this project a name of its own with --project, or make them its own with --take-over"
        raise FlowError.from_problems(
            [
                Problem(
                    f"the deployment {each.full_name} is another project's",
                    where=url,
                    found=f"it runs in {folder_of(found) or 'a folder that it does not say'}",
                    hint=hint,
                )
                for each, found in taken
            ]
        )


def _decide_orphans(
    wanted: Sequence[Wanted], known: _Known, project: Project
) -> dict[tuple[FlowName, str], Orphan]:
    names = {(each.flow, each.name) for each in wanted}
    orphans = {}
    for (flow, name), found in sorted(known.deployments.items()):
        if project.tag in found.tags and (flow, name) not in names:
            path = project.folder / str(found.parameters.get("spec", ""))
            orphan = decide_orphan(found, flow, wanted, path.is_file())
            if orphan is not None:
                orphans[flow, name] = orphan
    return orphans


async def _read_pools(client: PrefectClient, names: Sequence[str], dry_run: bool) -> dict[str, str]:
    """Type of each work pool; those that are missing are made."""
    pools = {}
    for name in names:
        try:
            pools[name] = (await client.read_work_pool(name)).type
        except ObjectNotFound:
            pools[name] = f"{ProcessWorker.type}, new"
            if not dry_run:
                template = ProcessWorker.get_default_base_job_template()
                await client.create_work_pool(
                    WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template)
                )
    return pools


async def _apply(
    client: PrefectClient, flow_id: UUID, wanted: Wanted, change: Change, found: DeploymentResponse | None
) -> None:
    schedules = _schedules(wanted)
    if found is None:
        await client.create_deployment(
            flow_id=flow_id,
            name=wanted.name,
            version=wanted.version,
            work_pool_name=wanted.work_pool,
            schedules=schedules,
            parameters=dict(wanted.parameters),
            entrypoint=wanted.entrypoint,
            pull_steps=[dict(step) for step in wanted.pull_steps],
            parameter_openapi_schema=dict(_schema(wanted.flow)),
            description=wanted.description,
            tags=list(wanted.tags),
            job_variables=dict(NEW_JOB_VARIABLES),
        )
        return
    if change.fields:
        await client.update_deployment(found.id, DeploymentUpdate.model_validate(change.fields))
    ours = own_schedule(found)
    match change.on_schedule, ours:
        case "create", _:
            await client.create_deployment_schedules(found.id, schedules)
        case "replace", DeploymentSchedule(id=schedule_id):
            await client.update_deployment_schedule(found.id, schedule_id, schedule=schedules[0].schedule)
        case "delete", DeploymentSchedule(id=schedule_id):
            await client.delete_deployment_schedule(found.id, schedule_id)
        case _:
            pass


def _schedules(wanted: Wanted) -> list[DeploymentScheduleCreate]:
    if wanted.schedule is None:
        return []
    cron = CronSchedule(cron=wanted.schedule.cron, timezone=wanted.schedule.timezone)
    return [DeploymentScheduleCreate(schedule=cron, slug=SLUG)]


def _schema(flow: FlowName) -> dict[str, Any]:
    return parameter_schema(_FLOWS[flow]).model_dump()
