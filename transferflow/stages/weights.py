"""Whether a run will find the weights that it starts from, before it does anything else."""

from __future__ import annotations

from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext


def require_weights(spec: ExperimentSpec, context: RunContext) -> None:
    """Refuse a first run whose weights no download can bring, before the data is prepared.

    A spec that was trained before may need no weights at all: its train stage looks for itself.

    Raises:
        WeightsError: If files are missing and can't be downloaded (offline, a local file, a package), or
            the model has no such weights.
        PlanError: If there is no such model.
    """
    if context.store.last_inputs("train", spec.name) is not None:
        return
    from transferflow.models.spec_weights import missing_spec_weights  # loads torch

    missing_spec_weights(spec)
