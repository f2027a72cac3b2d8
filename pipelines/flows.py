"""The flow `train`: prepare, train, evaluate and register what a spec says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import cast

import httpx
from prefect import flow, runtime
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from transferflow.cpus import apply_thread_settings
from transferflow.errors import TransferflowError
from transferflow.logs import get_logger
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import as_deployed, deployed_gpus, registered_model
from transferflow.spec.load import load_spec
from transferflow.spec.sections.evaluation import MAX_MODEL_NAME
from transferflow.stages.context import RunContext, build_context
from transferflow.stages.outcome import StageName, StageOutcome

from .events import emit_verdict
from .logs import logs_sent_to_server, plain_terminal
from .own_run import own_deployment_id
from .project import require_pinned
from .run_lock import alive
from .server import reachable_server
from .slots import taking_gpus
from .steps import Reference, failed_state, stage_step
from .summary import publish_summary

logger = get_logger()
_TRIAL = "--override"


def spec_run_name() -> str:
    """The spec's name; a spec that can't be read is called by its file."""
    parameters = runtime.flow_run.parameters
    path = Path(str(parameters.get("spec", "")))
    try:
        return load_spec(path, parameters.get("overrides") or ()).name
    except TransferflowError:
        return path.stem or "train"


@flow(name="train", flow_run_name=spec_run_name, persist_result=True, result_serializer="json", retries=0)
def train(
    spec: str,
    overrides: list[str] | None = None,
    home: str | None = None,
    tracking_uri: str | None = None,
    offline: bool = False,
    wait: bool = True,
    verify: bool = False,
    sha256: str | None = None,
    promote: bool = False,
) -> list[Reference]:
    """Prepare, train, evaluate and register what a spec says.

    Args:
        spec: The spec's file, from the working directory.
        overrides: Values to replace, as in `optimizer.lr=3e-4`.
        home: Artifacts and cache; left out: `$TRANSFERFLOW_HOME` or `.transferflow`.
        tracking_uri: MLflow server; left out: `$MLFLOW_TRACKING_URI` or local files.
        offline: Never download weights.
        wait: Wait for another process that runs the same stage, and reuse its result; otherwise fail.
        verify: Hash every file of the data set, instead of going by size and time.
        sha256: What the spec said when it was deployed; a spec that says something else is not run.
        promote: Let a run with other overrides than its deployment's register under the model's own name.

    Returns:
        The outcome of each stage, as JSON.
    """
    apply_thread_settings()  # before a stage loads torch
    try:
        if sha256 is not None:
            require_pinned(Path(spec), sha256)
        loaded = load_spec(Path(spec), overrides or ())
        is_trial = not promote and is_changed_run(overrides or ())
        if is_trial:
            trial = f"registration.model={trial_name(loaded)}"
            loaded = load_spec(Path(spec), [*(overrides or ()), trial])
        if own_deployment_id() is not None:
            loaded = as_deployed(loaded)
        context = build_context(Path(home) if home else None, tracking_uri, offline, wait, verify)
        context = replace(context, apart=own_deployment_id() is not None)
        with logs_sent_to_server(), alive(context.home):
            outcomes = _run_stages(loaded, context, is_trial)
    except TransferflowError as error:
        return cast(list[Reference], failed_state(error))  # Prefect unwraps it
    _publish(loaded.name, outcomes)
    return outcomes


def _publish(name: str, outcomes: Sequence[Reference]) -> None:
    try:
        emit_verdict(name, _read(outcomes))
        publish_summary(name, _read(outcomes))
    except (httpx.HTTPError, PrefectException) as error:  # what is registered did not fail
        logger.warning("the summary could not be sent to the server: %s", error)


def is_changed_run(overrides: Sequence[str]) -> bool:
    """Whether this is a deployment's run with other overrides than the deployment was made with."""
    deployment_id = own_deployment_id()
    if deployment_id is None:
        return False
    with get_client(sync_client=True) as client:
        deployed = client.read_deployment(deployment_id).parameters
    return list(overrides) != (deployed.get("overrides") or [])


def trial_name(spec: ExperimentSpec) -> str:
    """Under what a changed run registers: it must not become the champion of the model that is in use."""
    return f"{registered_model(spec)[: MAX_MODEL_NAME - len(_TRIAL)]}{_TRIAL}"


def _run_stages(spec: ExperimentSpec, context: RunContext, is_trial: bool) -> list[Reference]:
    from transferflow.stages.refresh.look import require_no_loss
    from transferflow.stages.refresh.turn import remember
    from transferflow.stages.run import walk_stages

    is_deployed = own_deployment_id() is not None
    with ExitStack() as held:

        def run(stage: StageName, before: tuple[Reference, ...]) -> Reference:
            if stage == "train" and is_deployed:
                held.enter_context(taking_gpus(deployed_gpus(spec)))  # preparing needs none
            return stage_step.with_options(name=stage)(stage, spec, context, before).result()

        if is_deployed:
            require_no_loss(spec, context)
        outcomes = list(walk_stages(spec, context, run))
        if is_deployed and not is_trial:
            remember(spec, context, _read(outcomes))
        return outcomes


def run_flow(spec: Path, overrides: Sequence[str], context: RunContext) -> tuple[StageOutcome, ...]:
    """Run the flow in this process, on the configured Prefect server or else one of its own.

    Raises:
        TransferflowError: Whatever a stage raises.
        FlowError: If the Prefect server can't be reached.
    """
    # A person waits for this run, and its lock tells whether it lives. Prefect's thread that sends heartbeats
    # would be waited for at the end of it, up to a second; whoever asks for heartbeats gets them.
    no_heartbeats = temporary_settings(set_defaults={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    with plain_terminal(), no_heartbeats, reachable_server(context.server, meanwhile=_load_stages):
        outcomes = train(
            spec=str(spec),
            overrides=list(overrides),
            home=str(context.home),
            tracking_uri=context.tracking_uri,
            wait=context.wait,
            verify=context.verify,
        )
    return _read(outcomes)


def _load_stages() -> None:
    import_module("transferflow.stages.run")  # torch and the rest take seconds


def _read(outcomes: Iterable[Reference]) -> tuple[StageOutcome, ...]:
    return tuple(StageOutcome.from_json(outcome) for outcome in outcomes)
