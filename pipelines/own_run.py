"""The deployment whose run this process executes, as Prefect's engine holds it.

`prefect.runtime` asks the server for it each time, which took a run of reused stages a quarter of a second.
"""

from __future__ import annotations

from prefect.context import FlowRunContext


def own_deployment_id() -> str | None:
    """Id of the deployment whose run this is; `None` for a run of the command line, and outside of a flow."""
    context = FlowRunContext.get()
    found = None if context is None or context.flow_run is None else context.flow_run.deployment_id
    return None if found is None else str(found)
