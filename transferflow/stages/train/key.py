"""All inputs of the train stage, those included that are not in the spec: weights files and a warm start."""

from __future__ import annotations

from typing import Any

from transferflow.models.weights.lock import active_lock
from transferflow.registry.base import RegisteredVersion
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import registered_model
from transferflow.spec.sections.backbone import CheckpointBackbone, PackageBackbone
from transferflow.spec.sections.head import LinearHead
from transferflow.stages.context import RunContext
from transferflow.stages.keys import train_inputs
from transferflow.store import digest

WARM_START = "warm_start"


def complete_train_inputs(spec: ExperimentSpec, context: RunContext, fingerprint: str) -> dict[str, Any]:
    """Inputs of train: spec, snapshot, the weights file's identity, and the champion that it starts from."""
    inputs = train_inputs(spec, fingerprint, _weights_identity(spec))
    champion = warm_start_champion(spec, context)
    if champion is None:
        return inputs
    if champion.tags.get("train_base") == digest(inputs):
        # The champion came from these very inputs: its own start gives its own key, and it is reused.
        start = champion.tags.get(WARM_START, "")
    else:
        start = champion.tags.get("train_key", "")
    return inputs | ({WARM_START: start} if start else {})


def base_of(inputs: dict[str, Any]) -> str:
    """Digest of the inputs without the warm start; a tag of the registered version."""
    return digest({name: value for name, value in inputs.items() if name != WARM_START})


def warm_start_champion(spec: ExperimentSpec, context: RunContext) -> RegisteredVersion | None:
    """The champion whose head rows are carried over; `None` when the spec asks for none or there is none."""
    if not isinstance(spec.head, LinearHead) or spec.head.warm_start is None:
        return None
    return context.registry.champion(registered_model(spec))


def _weights_identity(spec: ExperimentSpec) -> dict[str, str]:
    """What the name of the weights leaves open: the file behind DEFAULT, local content, what is locked."""
    by_name = isinstance(spec.backbone, PackageBackbone) or (
        not isinstance(spec.backbone, CheckpointBackbone) and spec.backbone.weights.upper() != "DEFAULT"
    )
    if by_name and active_lock() is None:
        return {}
    from transferflow.models.spec_weights import weights_identity  # loads torch

    return dict(weights_identity(spec))
