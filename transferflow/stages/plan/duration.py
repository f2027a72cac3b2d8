"""How long a training takes, from the spec's last one."""

from __future__ import annotations

import json

from transferflow.stages.artifacts import HISTORY
from transferflow.store import ArtifactStore, digest


def last_epoch_seconds(store: ArtifactStore, name: str) -> float | None:
    """Mean time of an epoch in the last finished training of the spec.

    Args:
        store: Where its history lies.
        name: The spec's name.

    Returns:
        Seconds; `None` if the spec was never trained here, its history is gone, or nothing trained.
    """
    inputs = store.last_inputs("train", name)
    if inputs is None:
        return None
    try:  # unchecked: hashing the weights to guess at a time would take longer than the rest of a plan
        history = json.loads((store.folder("train", digest(inputs)) / HISTORY).read_text("utf-8"))
        seconds = [float(row["seconds"]) for row in history["epochs"] if "seconds" in row]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return sum(seconds) / len(seconds) if seconds else None
