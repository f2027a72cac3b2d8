"""What a spec's last training tells of the next one."""

from __future__ import annotations

import json
from dataclasses import dataclass

from transferflow.stages.artifacts import HISTORY
from transferflow.store import ArtifactStore, digest


@dataclass(frozen=True)
class LastTraining:
    """What the last finished training of a spec took.

    Attributes:
        epoch_seconds: Mean time of an epoch; `None` if nothing was trained.
        micro_batch: Most images of a batch that the GPU's memory had room for; `None`: a whole batch.
        arithmetic: Where and in which arithmetic it was computed, such as `cpu, bf16`: what `auto` came to.
    """

    epoch_seconds: float | None = None
    micro_batch: int | None = None
    arithmetic: str = ""


def load_last_training(store: ArtifactStore, name: str) -> LastTraining:
    """Read what the spec's last training took; empty if there was none here, or its history is gone.

    Args:
        store: Where its history lies.
        name: The spec's name.
    """
    inputs = store.last_inputs("train", name)
    if inputs is None:
        return LastTraining()
    try:  # unchecked: hashing the weights to guess at a time would take longer than the rest of a plan
        history = json.loads((store.folder("train", digest(inputs)) / HISTORY).read_text("utf-8"))
        seconds = [float(row["seconds"]) for row in history["epochs"] if "seconds" in row]
        parts = history["micro_batch"]
        micro_batch = None if parts is None else int(parts)
        arithmetic = f"{history['device']}, {history['precision']}"
    except (OSError, ValueError, KeyError, TypeError):
        return LastTraining()
    return LastTraining(sum(seconds) / len(seconds) if seconds else None, micro_batch, arithmetic)
