"""The event that tells a verdict, for automations: notifications, webhooks, further deployments."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.events import emit_event

from transferflow.stages.outcome import StageOutcome

MODEL_DECIDED = "transferflow.model.decided"
_MODEL = "transferflow.model"


def emit_verdict(name: str, outcomes: Sequence[StageOutcome]) -> None:
    """Tell the server what became of a model; a verdict that was reused is not told again.

    Args:
        name: The spec's name.
        outcomes: Of all stages, in their order.
    """
    by_stage = {outcome.stage: outcome for outcome in outcomes}
    decided = by_stage["register"]
    if decided.reused:
        return
    found = decided.summary
    metrics = by_stage["evaluate"].summary["metrics"]
    emit_event(
        event=MODEL_DECIDED,
        resource={
            "prefect.resource.id": f"{_MODEL}.{found['model']}",
            "prefect.resource.name": str(found["model"]),
        },
        payload={
            "spec": name,
            "verdict": found["verdict"],
            "version": found["version"],
            "reasons": list(found["reasons"]),
            "aliases": list(found["aliases"]),
            "metrics": {metric: each["value"] for metric, each in metrics.items()},
            "report": found["report"],
        },
    )
