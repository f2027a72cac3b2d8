"""Work pools: made when they are missing, and what a deployment asks of each type for its GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from transferflow.errors import FlowError

from .wanted import Wanted

NEW_JOB_VARIABLES: Mapping[str, Any] = {"stream_output": False}
"""The engine's output goes to the server: a pipe to the worker would let the engine die with it."""
_EXTRAS = "container_create_kwargs"
_DEVICES = "device_requests"
_ALL_GPUS = [{"count": -1, "capabilities": [["gpu"]]}]
"""Docker would give the same first GPUs to every container: a run sees all, and takes those that are free."""
_GPUS = "gpus"
POLL_COMMAND = "python -m transferflow.pipelines.poll"
"""Workers run it with the Python of their path: `transferflow worker` puts its own there."""


@dataclass(frozen=True)
class Pool:
    """A work pool.

    Attributes:
        name: Its name.
        type: Prefect's word for where its runs take place: `process`, `docker`, `kubernetes`, …
        variables: Job variables that its template knows.
        is_new: Whether it was missing.
    """

    name: str
    type: str
    variables: frozenset[str] = frozenset()
    is_new: bool = False

    def __str__(self) -> str:
        return f"{self.type}, new" if self.is_new else self.type


async def read_pools(client: PrefectClient, names: Sequence[str], dry_run: bool) -> dict[str, Pool]:
    """The pools of these names; those that are missing are made, of the type `process`."""
    pools = {}
    for name in names:
        try:
            found = await client.read_work_pool(name)
        except ObjectNotFound:
            pools[name] = Pool(name, ProcessWorker.type, is_new=True)
            if not dry_run:
                template = ProcessWorker.get_default_base_job_template()
                await client.create_work_pool(
                    WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template)
                )
        else:
            known = found.base_job_template.get("variables", {}).get("properties", {})
            pools[name] = Pool(name, found.type, frozenset(known))
    return pools


def own_job_variables(pool: Pool, wanted: Wanted, found: Mapping[str, Any]) -> dict[str, Any]:
    """A deployment's job variables: its containers get GPUs, its polls begin light; all else stays as it is.

    Args:
        pool: Where it runs; processes see the machine's GPUs anyhow.
        wanted: The deployment.
        found: The job variables that are set.

    Raises:
        FlowError: If the pool's template knows no GPUs.
    """
    match pool.type:
        case "kubernetes":
            if wanted.gpus:
                _require_variable(pool, _GPUS)
            return {**found, _GPUS: wanted.gpus} if _GPUS in pool.variables else dict(found)
        case "docker":
            if wanted.gpus:
                _require_variable(pool, _EXTRAS)
            return _with_devices(wanted.gpus, found)
        case ProcessWorker.type if wanted.flow == "refresh":
            return {"command": POLL_COMMAND, **found}
        case _:
            return dict(found)


def _with_devices(gpus: int, found: Mapping[str, Any]) -> dict[str, Any]:
    extras = dict(found.get(_EXTRAS) or {})
    if gpus and _DEVICES not in extras:  # an operator may have chosen some
        extras[_DEVICES] = _ALL_GPUS
    elif not gpus and extras.get(_DEVICES) == _ALL_GPUS:
        del extras[_DEVICES]
    others = {name: value for name, value in found.items() if name != _EXTRAS}
    return {**others, _EXTRAS: extras} if extras else others


def _require_variable(pool: Pool, name: str) -> None:
    if name not in pool.variables:
        raise FlowError(
            "the work pool's template has no place for GPUs",
            where=f"work pool {pool.name} ({pool.type})",
            found=f"no job variable `{name}`",
            hint=f"give the pool deploy/{pool.type}-job-template.json (`prefect work-pool update {pool.name} "
            "--base-job-template FILE`), or train on the CPU by `deployment.gpus: 0`",
        )
