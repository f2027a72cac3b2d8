"""What a run looks at before it does anything else."""

from __future__ import annotations

from transferflow.data.named_transforms import check_transforms
from transferflow.errors import PlanError, Problem
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


def require_transforms(spec: ExperimentSpec) -> None:
    """Refuse transforms that albumentations has not, or wrong arguments of theirs.

    Raises:
        PlanError: With every problem.
    """
    found = check_transforms(spec.augmentation, spec.data.channels, spec.task.kind)
    if found:
        raise PlanError.from_problems(
            [Problem(message, ".".join(("augmentation", *path))) for path, message in found]
        )
