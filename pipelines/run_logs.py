"""The log lines of a run, from the server."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterName,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, Log, StateType
from prefect.client.schemas.sorting import FlowRunSort, LogSort
from prefect.exceptions import ObjectNotFound

from transferflow.errors import FlowError

from .deployment_changes import spec_of
from .server import answered, configured_server
from .wanted import TAG

_PAGE = 200
_STARTED = [kind for kind in StateType if kind is not StateType.SCHEDULED]


def read_logs(reference: str) -> tuple[FlowRun, list[Log]]:
    """The lines of a run, oldest first.

    Args:
        reference: The run's id; or a deployment (`train/PROJECT.SPEC`) or spec, whose last run is meant.

    Raises:
        FlowError: If there is no such run, no server is configured, or it does not answer or refuses.
    """
    url = configured_server()
    with answered(url), get_client(sync_client=True) as client:
        run = _find(client, reference)
        if run is None:
            raise FlowError(
                "no such run",
                found=repr(reference),
                allowed="the id of a run, a deployment as in train/PROJECT.SPEC, or the name of a spec",
                hint="`transferflow status` lists deployments and their last runs",
            )
        return run, list(_lines(client, run.id))


def _find(client: SyncPrefectClient, reference: str) -> FlowRun | None:
    try:
        return client.read_flow_run(UUID(reference))
    except ValueError:
        return _last_of(client, reference)
    except ObjectNotFound:
        return None


def _last_of(client: SyncPrefectClient, reference: str) -> FlowRun | None:
    """The last run that started of a deployment, or of any deployment of a spec of that name.

    Raises:
        FlowError: If none has started.
    """
    flow, _, name = reference.rpartition("/")
    only = DeploymentFilter(name=DeploymentFilterName(like_=name), tags=DeploymentFilterTags(all_=[TAG]))
    found = client.read_deployments(deployment_filter=only, limit=_PAGE)
    flows = {each.id: each.name for each in client.read_flows(deployment_filter=only)}
    ids = [
        each.id
        for each in found
        if name in (each.name, spec_of(each.name)) and flow in ("", flows.get(each.flow_id))
    ]
    if not ids:
        return None
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_STARTED))),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=ids)),
        sort=FlowRunSort.START_TIME_DESC,
        limit=1,
    )
    if not runs:
        hint = "`transferflow status` says when it is due"
        raise FlowError("no run of it has started yet", found=repr(reference), hint=hint)
    return runs[0]


def _lines(client: SyncPrefectClient, run_id: UUID) -> Iterator[Log]:
    """Of a run, and of the runs within it: a refresh trains in one."""
    below = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run_id]))
    runs = [run_id, *(run.id for run in client.read_flow_runs(flow_run_filter=below))]
    only = LogFilter(flow_run_id=LogFilterFlowRunId(any_=runs))
    offset = 0
    while page := client.read_logs(only, limit=_PAGE, offset=offset, sort=LogSort.TIMESTAMP_ASC):
        yield from page
        offset += len(page)
