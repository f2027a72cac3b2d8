"""The four stages in order, in this process."""

from __future__ import annotations

from collections.abc import Callable

from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.stage import evaluate
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.plan.preflight import require_layers, require_transforms, require_weights
from transferflow.stages.prepare import prepare
from transferflow.stages.register.stage import register
from transferflow.stages.train.stage import train


def run_plan(
    spec: ExperimentSpec, context: RunContext, on_stage: Callable[[StageOutcome], None] | None = None
) -> tuple[StageOutcome, ...]:
    """Run the plan without Prefect; `on_stage` sees each outcome as it comes."""
    outcomes: list[StageOutcome] = []

    def done(outcome: StageOutcome) -> StageOutcome:
        outcomes.append(outcome)
        if on_stage:
            on_stage(outcome)
        return outcome

    require_transforms(spec)
    require_layers(spec, context)
    require_weights(spec, context)
    prepared = done(prepare(spec, context))
    trained = done(train(spec, context, prepared))
    evaluated = done(evaluate(spec, context, prepared, trained))
    done(register(spec, context, prepared, trained, evaluated))
    return tuple(outcomes)
