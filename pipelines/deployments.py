"""Deployments: per spec, on a work pool, with the spec's schedule; only what differs is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.schemas.automations import Automation
from prefect.utilities.callables import parameter_schema

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
from .resume import resume
from .schedules import build_schedule
from .server import answered, configured_server
from .triggers import apply_trigger, delete_trigger, read_triggers, trigger_name
from .wanted import FlowName, Target, Wanted, build_resume, build_wanted
from .work_pools import NEW_JOB_VARIABLES, Pool, own_job_variables, read_pools

_PAGE, _NAMED = 200, 4
_AT_ONCE = 2
"""Requests at once: a server on sqlite answers 503 when more of them write."""
_FLOWS: Mapping[FlowName, Flow[..., Any]] = {"train": train, "refresh": refresh, "resume": resume}


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
        triggers: Automations that run them, by name.
    """

    deployments: Mapping[tuple[FlowName, str], DeploymentResponse]
    triggers: Mapping[str, Automation]


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


def deploy_resume(work_pool: str, project: Project) -> DeployReport:
    """Make or update the deployment that sends dead runs on, for a work pool of workers that are not ours.

    Raises:
        FlowError: If no server is configured, it does not answer, or the name is another project's.
    """
    url = configured_server()
    with answered(url):
        wanted = [build_resume(work_pool, project)]
        return asyncio.run(_deploy(url, wanted, project, prune=False, take_over=False, dry_run=False))


async def _deploy(
    url: str, wanted: Sequence[Wanted], project: Project, prune: bool, take_over: bool, dry_run: bool
) -> DeployReport:
    async with get_client() as client:
        known = await _read_known(client)
        if not take_over:
            _refuse_others(url, wanted, known, project)
        found = [known.deployments.get((each.flow, each.name)) for each in wanted]
        pools = await read_pools(client, sorted({w.work_pool for w in wanted}), dry_run)
        changes = [_decide(w, f, pools[w.work_pool], known) for w, f in zip(wanted, found, strict=True)]
        specs = [each for each in wanted if each.flow != "resume"]
        orphans = _decide_orphans(specs, known, project) if specs else {}
        removed = {key: orphan for key, orphan in orphans.items() if prune or orphan.is_dropped}
        if not dry_run:
            flows = {
                flow: await client.create_flow(_FLOWS[flow]) for flow in sorted({w.flow for w in wanted})
            }
            work = [
                _apply(client, flows[w.flow], w, change, before, known)
                for w, change, before in zip(wanted, changes, found, strict=True)
                if change.kind != "unchanged"
            ]
            work += [_remove(client, known.deployments[key]) for key in removed]
            await _some_at_once(work)
    gone = [Change("removed", orphan.name, orphan.path, lines=(orphan.why,)) for orphan in removed.values()]
    left = tuple(orphan for key, orphan in orphans.items() if key not in removed)
    return DeployReport(url, (*changes, *gone), left, {name: str(pool) for name, pool in pools.items()})


def _decide(wanted: Wanted, found: DeploymentResponse | None, pool: Pool, known: _Known) -> Change:
    set_now = (found.job_variables or {}) if found else NEW_JOB_VARIABLES
    variables = own_job_variables(pool, wanted, set_now)
    trigger = known.triggers.get(trigger_name(wanted))
    return decide_change(wanted, found, _schema(wanted.flow), variables, trigger)


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
    return _Known(deployments, await read_triggers(client))


def _refuse_others(url: str, wanted: Sequence[Wanted], known: _Known, project: Project) -> None:
    taken: dict[str, list[str]] = {}
    for each in wanted:
        found = known.deployments.get((each.flow, each.name))
        if found is not None and project.tag not in found.tags:
            taken.setdefault(folder_of(found) or "a folder that it does not say", []).append(each.full_name)
    if taken:
        hint = "give this project a name of its own with --project, or make them its own with --take-over"
        raise FlowError.from_problems(
            [
                Problem(
                    "deployments of these names are another project's",
                    where=url,
                    found=f"{_some(names)}; they run in {folder}",
                    hint=hint,
                )
                for folder, names in taken.items()
            ]
        )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _decide_orphans(
    wanted: Sequence[Wanted], known: _Known, project: Project
) -> dict[tuple[FlowName, str], Orphan]:
    names = {(each.flow, each.name) for each in wanted}
    orphans: dict[tuple[FlowName, str], Orphan] = {}
    for (flow, name), found in sorted(known.deployments.items()):
        if flow != "resume" and project.tag in found.tags and (flow, name) not in names:
            path = project.folder / str(found.parameters.get("spec", ""))
            orphan = decide_orphan(found, flow, wanted, path.is_file())
            if orphan is not None:
                orphans[flow, name] = orphan
    return orphans


async def _apply(
    client: PrefectClient,
    flow_id: UUID,
    wanted: Wanted,
    change: Change,
    found: DeploymentResponse | None,
    known: _Known,
) -> None:
    if found is None:
        deployment_id = await _create(client, flow_id, wanted, change)
    else:
        deployment_id = found.id
        await _update(client, wanted, change, found)
    if change.on_trigger != "keep":
        await apply_trigger(client, wanted, deployment_id, known.triggers.get(trigger_name(wanted)))


async def _remove(client: PrefectClient, found: DeploymentResponse) -> None:
    await delete_trigger(client, found.id)
    await client.delete_deployment(found.id)


async def _create(client: PrefectClient, flow_id: UUID, wanted: Wanted, change: Change) -> UUID:
    return await client.create_deployment(
        flow_id=flow_id,
        name=wanted.name,
        version=wanted.version,
        work_pool_name=wanted.work_pool,
        schedules=_schedules(wanted),
        parameters=dict(wanted.parameters),
        entrypoint=wanted.entrypoint,
        pull_steps=[dict(step) for step in wanted.pull_steps],
        parameter_openapi_schema=dict(_schema(wanted.flow)),
        description=wanted.description,
        tags=list(wanted.tags),
        job_variables=dict(change.fields["job_variables"]),
    )


async def _update(client: PrefectClient, wanted: Wanted, change: Change, found: DeploymentResponse) -> None:
    schedules = _schedules(wanted)
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
    return [DeploymentScheduleCreate(schedule=build_schedule(wanted.schedule), slug=SLUG)]


@cache
def _schema(flow: FlowName) -> dict[str, Any]:
    return parameter_schema(_FLOWS[flow]).model_dump()
