"""Deployments: one per spec, on a work pool, with the spec's schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from transferflow.errors import FlowError
from transferflow.spec import ExperimentSpec

from .flows import train
from .server import START_HINT, answered, check_health

ENTRYPOINT = "transferflow.pipelines.flows.train"
TAG = "transferflow"
_SET_DIRECTORY = "prefect.deployments.steps.set_working_directory"
_PAGE = 200


@dataclass(frozen=True)
class Target:
    """A spec to deploy.

    Attributes:
        spec: The checked spec.
        path: Its file, as the worker finds it from the project folder.
        work_pool: Where it runs.
    """

    spec: ExperimentSpec
    path: str
    work_pool: str


@dataclass(frozen=True)
class Deployed:
    """One deployment after `deploy`.

    Attributes:
        name: Flow and deployment, as `prefect deployment run` takes it.
        path: The spec's file.
        work_pool: Where it runs, with the pool's type.
        schedule: Cron and time zone; empty without a schedule.
        change: `created`, `updated`, or from which folder it was moved.
    """

    name: str
    path: str
    work_pool: str
    schedule: str
    change: str


@dataclass(frozen=True)
class DeployReport:
    """What `deploy` did.

    Attributes:
        url: API of the server.
        deployed: One per spec.
        orphans: Deployments of this project whose spec was not among them.
    """

    url: str
    deployed: tuple[Deployed, ...]
    orphans: tuple[str, ...]


def deploy_specs(targets: Sequence[Target], project: Path, parameters: Mapping[str, Any]) -> DeployReport:
    """Create or update a deployment per spec, and the work pools that are missing.

    Args:
        targets: The specs.
        project: Folder in which the worker runs them.
        parameters: Further parameters of the flow, the same for all.

    Raises:
        FlowError: If no server is configured, or it does not answer or refuses.
    """
    url = PREFECT_API_URL.value()
    if url is None:
        raise FlowError("deployments need a Prefect server that stays", hint=START_HINT)
    check_health(url)
    with answered(url), get_client(sync_client=True) as client:
        known = {found.name: found for found in _our_deployments(client)}
        flow_id = client.create_flow(train)
        pools = {name: _work_pool(client, name) for name in sorted({t.work_pool for t in targets})}
        for target in targets:
            _apply(client, flow_id, target, project, parameters)
    names = {target.spec.name for target in targets}
    return DeployReport(
        url,
        tuple(_deployed(t, pools[t.work_pool], known.get(t.spec.name), project) for t in targets),
        tuple(n for n, found in sorted(known.items()) if n not in names and _folder(found) == str(project)),
    )


def _apply(
    client: SyncPrefectClient, flow_id: UUID, target: Target, project: Path, parameters: Mapping[str, Any]
) -> None:
    deployment = target.spec.deployment
    schedules = []
    if deployment.schedule is not None:
        cron = CronSchedule(cron=deployment.schedule.cron, timezone=deployment.schedule.timezone)
        schedules = [DeploymentScheduleCreate(schedule=cron)]
    client.create_deployment(
        flow_id=flow_id,
        name=target.spec.name,
        work_pool_name=target.work_pool,
        schedules=schedules,
        parameters={"spec": target.path, **parameters},
        entrypoint=ENTRYPOINT,
        pull_steps=[{_SET_DIRECTORY: {"directory": str(project)}}],
        parameter_openapi_schema=parameter_schema(train).model_dump(),
        description=f"Prepares, trains, evaluates and registers `{target.path}`.",
        tags=[TAG],
    )


def _work_pool(client: SyncPrefectClient, name: str) -> WorkPool:
    try:
        return client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        return client.create_work_pool(
            WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template)
        )


def _our_deployments(client: SyncPrefectClient) -> Iterator[DeploymentResponse]:
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    offset = 0
    while page := client.read_deployments(deployment_filter=ours, limit=_PAGE, offset=offset):
        yield from (found for found in page if found.entrypoint == ENTRYPOINT)
        offset += len(page)


def _folder(found: DeploymentResponse) -> str | None:
    for step in found.pull_steps or ():
        if _SET_DIRECTORY in step:
            return str(step[_SET_DIRECTORY].get("directory"))
    return None


def _deployed(target: Target, pool: WorkPool, before: DeploymentResponse | None, project: Path) -> Deployed:
    schedule = target.spec.deployment.schedule
    if before is None:
        change = "created"
    else:
        change = "updated" if _folder(before) == str(project) else f"moved here from {_folder(before)}"
    return Deployed(
        name=f"{train.name}/{target.spec.name}",
        path=target.path,
        work_pool=f"{target.work_pool} ({pool.type})",
        schedule=f"{schedule.cron} {schedule.timezone}" if schedule else "",
        change=change,
    )
