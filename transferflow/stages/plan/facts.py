"""What a plan needs to know of a model, as plain data: it can be kept, and says the same without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transferflow.models.weights.needed import NeededWeights
from transferflow.stages.train.layers import TrainingPlan


@dataclass(frozen=True)
class CutFacts:
    """Where a model is cut in a phase.

    Attributes:
        reason: Why it can't be cut; empty where it can.
        boundary: Layer groups after which it is cut.
        numbers: Numbers that are kept of each image.
        operations: Floating-point operations before the cut for one image.
        all_operations: Those of the whole forward pass; of a detector, of its backbone and neck.
    """

    reason: str
    boundary: tuple[str, ...] = ()
    numbers: int = 0
    operations: int = 0
    all_operations: int = 0


@dataclass(frozen=True)
class ModelFacts:
    """What a spec comes to on its very model; depends on neither the images nor their number.

    Attributes:
        weights: The weights files.
        training: Freeze state and rates per layer group.
        cuts: Where the model is cut, per phase.
        is_varied: Whether training images are varied at random.
        resolved: Every default that was taken, and what `auto` came to, by key path; plain JSON.
        warnings: What a careful colleague would point out of the model.
    """

    weights: NeededWeights
    training: TrainingPlan
    cuts: tuple[CutFacts, ...]
    is_varied: bool
    resolved: Mapping[str, Any]
    warnings: tuple[str, ...]
