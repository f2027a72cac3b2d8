"""The stages in their order: walked in this process, or by whoever runs each of them as a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, assert_never

from transferflow.machine import machine_faults_named
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.stage import evaluate
from transferflow.stages.outcome import STAGES, StageName, StageOutcome
from transferflow.stages.plan.requirements import (
    require_home,
    require_layers,
    require_possible_devices,
    require_registry,
    require_tracking,
    require_transforms,
    require_weights,
)
from transferflow.stages.prepare import InspectIn, prepare
from transferflow.stages.register.stage import register
from transferflow.stages.train.stage import train
from transferflow.training.preflight.contents import Preflight

Outcome = TypeVar("Outcome")


def walk_stages(
    spec: ExperimentSpec, context: RunContext, run: Callable[[StageName, tuple[Outcome, ...]], Outcome]
) -> tuple[Outcome, ...]:
    """Look at what can be known beforehand, then run the stages one after the other.

    Args:
        spec: The spec.
        context: Where and how stages run.
        run: Runs a stage, given the outcomes of those before it.

    Returns:
        The outcomes, in the order of the stages.
    """
    with machine_faults_named(context.home):
        _require_training(spec, context)
        require_registry(context)
        require_tracking(spec)
        require_weights(spec, context)
        context.store.sweep()
    outcomes: tuple[Outcome, ...] = ()
    for stage in STAGES:
        outcomes = (*outcomes, run(stage, outcomes))
    return outcomes


def _require_training(spec: ExperimentSpec, context: RunContext) -> None:
    require_home(context)
    require_transforms(spec)
    require_layers(spec, context)
    if context.store.last_inputs("train", spec.name) is None:  # later runs look when they train
        require_possible_devices(spec)


def run_preflight(spec: ExperimentSpec, context: RunContext) -> tuple[Preflight, Path]:
    """Prepare the data, unless that is done, and look at the first batch; nothing is trained.

    Args:
        spec: The spec.
        context: Where it runs.

    Returns:
        What was found, and the sheet of training images.

    Raises:
        TransferflowError: What a run would raise before its first epoch.
    """
    from transferflow.stages.train.preflight import preflight  # loads torch and timm

    with machine_faults_named(context.home):
        _require_training(spec, context)
        require_weights(spec, context)
        return preflight(spec, context, prepare(spec, context))


def run_stage(
    stage: StageName,
    spec: ExperimentSpec,
    context: RunContext,
    before: Sequence[StageOutcome],
    inspect_in: InspectIn | None = None,
) -> StageOutcome:
    """Run one stage.

    Args:
        stage: Which one.
        spec: The spec.
        context: Where and how it runs.
        before: The outcomes of the stages before it, in their order.
        inspect_in: Opens the files of a data set, see `prepare`.

    Raises:
        MachineError: If the disk or the memory is full, or a file may not be written.
        TransferflowError: Whatever the stage raises.
    """
    with machine_faults_named(context.home):
        return _run_stage(stage, spec, context, before, inspect_in)


def _run_stage(
    stage: StageName,
    spec: ExperimentSpec,
    context: RunContext,
    before: Sequence[StageOutcome],
    inspect_in: InspectIn | None,
) -> StageOutcome:
    match stage:
        case "prepare":
            return prepare(spec, context, inspect_in)
        case "train":
            return train(spec, context, *before)
        case "evaluate":
            return evaluate(spec, context, *before)
        case "register":
            return register(spec, context, *before)
        case _:
            assert_never(stage)


def run_plan(
    spec: ExperimentSpec, context: RunContext, on_stage: Callable[[StageOutcome], None] | None = None
) -> tuple[StageOutcome, ...]:
    """Run the plan without Prefect; `on_stage` sees each outcome as it comes."""

    def run(stage: StageName, before: tuple[StageOutcome, ...]) -> StageOutcome:
        outcome = run_stage(stage, spec, context, before)
        if on_stage:
            on_stage(outcome)
        return outcome

    return walk_stages(spec, context, run)
