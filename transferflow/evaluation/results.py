"""What an evaluation yields, for every task alike, and its form on disk."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from transferflow.errors import EvaluationError


@dataclass(frozen=True)
class MetricValue:
    """A metric with its 95 % bootstrap interval; `low` and `high` are `None` without one.

    Attributes:
        value: The metric; `nan` where it can't be computed.
        low: Lower end of the interval.
        high: Upper end of the interval.
        reason: Why the value is `nan`, or which classes a mean leaves out; empty otherwise.
    """

    value: float
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one model on one split.

    Attributes:
        metrics: By name.
        per_class: Class name to metric name to value (`nan` where the class can't be measured).
        images: Number of images measured.
        drawn: What the intervals draw, in words that follow "intervals over its".
        curves: Named data for figures (confusion matrix, reliability bins, PR curves), plain JSON.
    """

    metrics: Mapping[str, MetricValue]
    per_class: Mapping[str, Mapping[str, float]]
    images: int
    drawn: str = "images"
    curves: Mapping[str, object] = field(default_factory=dict)


def require_images(images: int) -> None:
    """Refuse to measure nothing.

    Raises:
        EvaluationError: If there is no image.
    """
    if images == 0:
        raise EvaluationError("There is no image to evaluate.", hint="Give the split a share of the data.")


def require_known(metrics: Iterable[str], known: Collection[str], kind: str) -> None:
    """Refuse a metric that can't be computed.

    Args:
        metrics: What is asked for.
        known: What there is.
        kind: Of which task, in words.

    Raises:
        EvaluationError: If one is unknown.
    """
    unknown = [name for name in metrics if name not in known]
    if unknown:
        raise EvaluationError(
            f"There is no such {kind} metric.", found=", ".join(unknown), allowed=", ".join(known)
        )


def evaluation_to_json(evaluation: Evaluation) -> str:
    """Write an evaluation as strict JSON; `nan` becomes `null`."""
    document = {
        "images": evaluation.images,
        "drawn": evaluation.drawn,
        "metrics": {
            name: {"value": _finite(m.value), "low": m.low, "high": m.high, "reason": m.reason}
            for name, m in evaluation.metrics.items()
        },
        "per_class": {
            name: {key: _finite(value) for key, value in row.items()}
            for name, row in evaluation.per_class.items()
        },
        "curves": evaluation.curves,
    }
    return json.dumps(document, allow_nan=False, indent=1, ensure_ascii=False)


def load_evaluation(text: str) -> Evaluation:
    """Read what `evaluation_to_json` wrote.

    Raises:
        EvaluationError: The text is not such a document.
    """
    try:
        document = json.loads(text)
        return Evaluation(
            metrics={
                name: MetricValue(_number(m["value"]), m["low"], m["high"], m["reason"])
                for name, m in document["metrics"].items()
            },
            per_class={
                name: {key: _number(value) for key, value in row.items()}
                for name, row in document["per_class"].items()
            },
            images=int(document["images"]),
            drawn=str(document.get("drawn", "images")),
            curves=document["curves"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(
            "The stored evaluation can't be read.", found=str(error), hint="Run the evaluation again."
        ) from error


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
