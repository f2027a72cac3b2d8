"""What a program calls: plan and run a spec, load a model. `import transferflow as tf` gives it lazily."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transferflow.evaluation.results import MetricValue
from transferflow.inference.model import Model
from transferflow.spec import ExperimentSpec
from transferflow.spec.load import load_spec
from transferflow.stages.bundles import find_bundle
from transferflow.stages.context import build_context
from transferflow.stages.evaluate.stage import read_evaluation
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.plan.compile import Plan, compile_plan
from transferflow.stages.run import run_plan
from transferflow.tasks.bundle import load_for_answers
from transferflow.training.device import pick_device


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        model: Name of the registered model.
        version: Number of the version in the registry.
        verdict: PROMOTE, HOLD or REJECT.
        reasons: Why, one sentence each.
        metrics: On the test images, by name, with their 95 % intervals.
        report: The HTML report.
        bundle: Folder of the trained model, which `load_model` takes.
        stages: The outcomes of prepare, train, evaluate and register.
    """

    model: str
    version: int
    verdict: str
    reasons: tuple[str, ...]
    metrics: Mapping[str, MetricValue]
    report: Path
    bundle: Path
    stages: tuple[StageOutcome, ...]


def plan(
    spec: ExperimentSpec | Path | str,
    *,
    home: Path | str | None = None,
    tracking_uri: str | None = None,
    offline: bool = False,
) -> Plan:
    """What a run of the spec would do, and why; changes nothing.

    Args:
        spec: A spec, or its file.
        home: Folder of artifacts and cache; left out: `TRANSFERFLOW_HOME`, or `.transferflow`.
        tracking_uri: MLflow server; left out: `MLFLOW_TRACKING_URI`, or files of the home.
        offline: Never download weights, in this whole process.

    Raises:
        SpecError: If the file is no valid spec.
        PlanError: If the backbone, the data or the machine can't meet it.
        DataError: If the data set can't be listed.
    """
    return compile_plan(_spec_of(spec), build_context(_folder(home), tracking_uri, offline))


def run(
    spec: ExperimentSpec | Path | str,
    *,
    home: Path | str | None = None,
    tracking_uri: str | None = None,
    offline: bool = False,
) -> RunResult:
    """Prepare, train, evaluate and register in this process, without Prefect; reuses what did not change.

    A run that was stopped goes on where it was when it is called again.

    Args:
        spec: A spec, or its file.
        home: Folder of artifacts and cache; left out: `TRANSFERFLOW_HOME`, or `.transferflow`.
        tracking_uri: MLflow server; left out: `MLFLOW_TRACKING_URI`, or files of the home.
        offline: Never download weights, in this whole process.

    Raises:
        TransferflowError: Whatever went wrong, in words; see `transferflow.errors`.
    """
    outcomes = run_plan(_spec_of(spec), build_context(_folder(home), tracking_uri, offline))
    by_stage = {outcome.stage: outcome for outcome in outcomes}
    registered = by_stage["register"].summary
    return RunResult(
        model=registered["model"],
        version=registered["version"],
        verdict=registered["verdict"],
        reasons=tuple(registered["reasons"]),
        metrics=read_evaluation(by_stage["evaluate"].folder).metrics,
        report=Path(registered["report"]),
        bundle=by_stage["train"].folder,
        stages=outcomes,
    )


def load_model(
    model: Path | str,
    *,
    home: Path | str | None = None,
    tracking_uri: str | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
) -> Model:
    """Load a model to predict with.

    Args:
        model: A registered name (its champion), `name@alias`, `name/version`, either also after `models:/`,
            or a bundle's folder.
        home: Folder of artifacts and cache; left out: `TRANSFERFLOW_HOME`, or `.transferflow`.
        tracking_uri: MLflow server; left out: `MLFLOW_TRACKING_URI`, or files of the home.
        device: Where it computes; `auto`: CUDA where it is, else Apple's GPU, else the CPU.

    Raises:
        RegistryError: If there is no such model.
        StoreError: If its bundle is damaged or can't be rebuilt.
        PlanError: If there is no such device.
    """
    chosen = pick_device(device)
    return Model(
        load_for_answers(find_bundle(str(model), build_context(_folder(home), tracking_uri)), chosen)
    )


def _spec_of(spec: ExperimentSpec | Path | str) -> ExperimentSpec:
    return spec if isinstance(spec, ExperimentSpec) else load_spec(spec)


def _folder(home: Path | str | None) -> Path | None:
    return None if home is None else Path(home)
