"""All inputs of the train stage, those included that are not in the spec: weights files and a warm start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transferflow.data.records import DatasetSnapshot
from transferflow.models.weights.lock import active_lock
from transferflow.models.weights.needed import NeededWeights, weights_identity
from transferflow.registry.base import ModelRegistry, RegisteredVersion, StageTag
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import registered_model
from transferflow.spec.sections.backbone import CheckpointBackbone, PackageBackbone
from transferflow.spec.sections.head import LinearHead
from transferflow.stages.context import RunContext
from transferflow.stages.keys import train_inputs
from transferflow.store import digest

WARM_START = "warm_start"
TRAIN_KEY: StageTag = "train_key"


@dataclass(frozen=True)
class TrainInputs:
    """What a model is trained from.

    Attributes:
        inputs: Inputs of the train stage; their digest is its key.
        start: The version whose head rows are carried over, which is the one that the inputs name.
    """

    inputs: dict[str, Any]
    start: RegisteredVersion | None = None

    @property
    def key(self) -> str:
        """Key of the train stage."""
        return digest(self.inputs)


def complete_train_inputs(
    spec: ExperimentSpec,
    context: RunContext,
    snapshot: DatasetSnapshot,
    needed: NeededWeights | None = None,
) -> TrainInputs:
    """Inputs of train: spec, snapshot, the weights file's identity, and the version that it starts from.

    Args:
        spec: The spec.
        context: Its registry knows the version to start from.
        snapshot: The data set.
        needed: The spec's weights files, where they are known; left out: they are looked up where needed.
    """
    inputs = train_inputs(spec, snapshot, _weights_identity(spec, needed))
    if not isinstance(spec.head, LinearHead) or spec.head.warm_start is None:
        return TrainInputs(inputs)
    start = _decide_start(context.registry, registered_model(spec), base_of(inputs))
    return TrainInputs(inputs if start is None else inputs | {WARM_START: start.tags[TRAIN_KEY]}, start)


def _decide_start(registry: ModelRegistry, model: str, base: str) -> RegisteredVersion | None:
    """The version whose head rows are carried over; `None` where there is none to start from.

    It is the champion; but a champion that came from these very inputs started elsewhere, and so does
    whoever trains it again: its own start gives its own key.
    """
    champion = registry.champion(model)
    if champion is None or TRAIN_KEY not in champion.tags:
        return None
    if champion.tags.get("train_base") != base:
        return champion
    former = champion.tags.get(WARM_START)
    if not former:
        return None
    return registry.tagged(model, TRAIN_KEY, former) or champion


def base_of(inputs: dict[str, Any]) -> str:
    """Digest of the inputs without the warm start; a tag of the registered version."""
    return digest({name: value for name, value in inputs.items() if name != WARM_START})


def _weights_identity(spec: ExperimentSpec, needed: NeededWeights | None) -> dict[str, str]:
    """What the name of the weights leaves open: the file behind DEFAULT, local content, what is locked."""
    by_name = isinstance(spec.backbone, PackageBackbone) or (
        not isinstance(spec.backbone, CheckpointBackbone) and spec.backbone.weights.upper() != "DEFAULT"
    )
    if by_name and active_lock() is None:
        return {}
    if needed is None:
        from transferflow.models.spec_weights import needed_weights  # loads torch

        needed = needed_weights(spec)
    return dict(weights_identity(needed))
