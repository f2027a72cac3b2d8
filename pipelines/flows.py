"""The flow `train`: prepare, train, evaluate and register what a spec says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import cast

from prefect import flow, runtime

from transferflow.errors import TransferflowError
from transferflow.spec import ExperimentSpec
from transferflow.spec.load import load_spec
from transferflow.stages.context import RunContext, build_context
from transferflow.stages.outcome import StageName, StageOutcome

from .logs import logs_sent_to_server, plain_terminal
from .server import reachable_server
from .steps import Reference, failed_state, stage_step
from .summary import publish_summary


def _run_name() -> str:
    """The spec's name; a spec that can't be read is called by its file."""
    parameters = runtime.flow_run.parameters
    path = Path(str(parameters.get("spec", "")))
    try:
        return load_spec(path, parameters.get("overrides") or ()).name
    except TransferflowError:
        return path.stem or "train"


@flow(name="train", flow_run_name=_run_name, persist_result=True, result_serializer="json", retries=0)
def train(
    spec: str,
    overrides: list[str] | None = None,
    home: str | None = None,
    tracking_uri: str | None = None,
    offline: bool = False,
    wait: bool = True,
    verify: bool = False,
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

    Returns:
        The outcome of each stage, as JSON.
    """
    try:
        loaded = load_spec(Path(spec), overrides or ())
        context = build_context(Path(home) if home else None, tracking_uri, offline, wait, verify)
        with logs_sent_to_server():
            outcomes = _run_stages(loaded, context)
    except TransferflowError as error:
        return cast(list[Reference], failed_state(error))  # Prefect unwraps it
    publish_summary(loaded.name, _read(outcomes))
    return outcomes


def _run_stages(spec: ExperimentSpec, context: RunContext) -> list[Reference]:
    from transferflow.stages.run import walk_stages

    def run(stage: StageName, before: tuple[Reference, ...]) -> Reference:
        return stage_step.with_options(name=stage)(stage, spec, context, before).result()

    return list(walk_stages(spec, context, run))


def run_flow(spec: Path, overrides: Sequence[str], context: RunContext) -> tuple[StageOutcome, ...]:
    """Run the flow in this process, on the configured Prefect server or else one of its own.

    Raises:
        TransferflowError: Whatever a stage raises.
        FlowError: If the Prefect server can't be reached.
    """
    with plain_terminal(), reachable_server(context.server, meanwhile=_load_stages):
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
