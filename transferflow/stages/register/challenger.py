"""The candidate that the register stage decides about: what the first three stages hand to it."""

from __future__ import annotations

from dataclasses import dataclass

from transferflow.data.records import DatasetSnapshot
from transferflow.spec import ExperimentSpec
from transferflow.stages.outcome import StageOutcome


@dataclass(frozen=True)
class Challenger:
    """The first three stages of a run, and the snapshot they worked on."""

    spec: ExperimentSpec
    snapshot: DatasetSnapshot
    prepared: StageOutcome
    trained: StageOutcome
    evaluated: StageOutcome
