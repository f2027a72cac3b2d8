"""What `--verbose` tells of a stage: its key, and what it differs in from the spec's last run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.former import plain_inputs
from transferflow.stages.keys import changed_inputs
from transferflow.stages.outcome import StageName
from transferflow.stages.progress import logger


def tell_inputs(
    spec: ExperimentSpec, context: RunContext, stage: StageName, key: str, inputs: Mapping[str, Any]
) -> None:
    """Log the key of a stage and the inputs that changed, for who asked for more."""
    last = context.store.last_inputs(stage, spec.name)
    changed = "; ".join(changed_inputs(plain_inputs(last), inputs)) if last else "never run before"
    logger.debug("%s: key %s, %s", stage, key[:12], changed or "nothing changed")
