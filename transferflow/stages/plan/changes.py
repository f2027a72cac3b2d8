"""What a changed spec would run again, from the two specs alone: no data, no model and no store is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transferflow.data.records import SPLITS, DatasetSnapshot
from transferflow.spec import ExperimentSpec
from transferflow.stages.keys import (
    changed_inputs,
    evaluate_inputs,
    prepare_inputs,
    register_inputs,
    train_inputs,
)
from transferflow.stages.outcome import STAGES, StageName
from transferflow.store import digest

# Stands for whatever the data set is: both specs are held against the same.
_ANY_DATA = DatasetSnapshot(
    path=Path(),
    root=Path(),
    fingerprint="",
    classes=(),
    channels=3,
    counts=dict.fromkeys(SPLITS, 0),
    class_counts={split: {} for split in SPLITS},
    quarantined=0,
    ids=dict.fromkeys(SPLITS, ""),
    groups=dict.fromkeys(SPLITS, ""),
)


@dataclass(frozen=True)
class SpecChange:
    """What becomes of a spec.

    Attributes:
        kind: Whether it is new, gone, changed, or the same.
        stages: Stages that run again; all of them for a new spec. If prepare does, and the images and labels
            turn out to be the same, training is reused all the same.
        reasons: What differs, in words.
    """

    kind: Literal["new", "gone", "changed", "same"]
    stages: tuple[StageName, ...] = ()
    reasons: tuple[str, ...] = ()


def decide_spec_change(old: ExperimentSpec | None, new: ExperimentSpec | None) -> SpecChange:
    """Compare two states of a spec.

    Args:
        old: As it was; `None`: there was none.
        new: As it is; `None`: there is none.
    """
    if new is None:
        return SpecChange("gone")
    if old is None:
        return SpecChange("new", STAGES)
    before, after = _inputs(old), _inputs(new)
    stages = tuple(stage for stage in STAGES if digest(before[stage]) != digest(after[stage]))
    reasons = changed_inputs(old.model_dump(mode="json"), new.model_dump(mode="json"))
    return SpecChange("changed" if reasons else "same", stages, tuple(reasons))


def _inputs(spec: ExperimentSpec) -> Mapping[StageName, Mapping[str, Any]]:
    """Inputs of each stage, each with the digest of the one before where it depends on it."""
    prepare = prepare_inputs(spec, "")
    train = train_inputs(spec, _ANY_DATA) | {"prepare": digest(prepare)}
    evaluate = evaluate_inputs(spec, _ANY_DATA, digest(train))
    return {
        "prepare": prepare,
        "train": train,
        "evaluate": evaluate,
        "register": register_inputs(spec, digest(evaluate), ""),
    }
