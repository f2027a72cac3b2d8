"""What an evaluation yields, for every task alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class MetricValue:
    """A metric with its 95 % bootstrap interval over test images; `low`/`high` are `None` without one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one model on one split.

    Attributes:
        metrics: By name.
        per_class: Class name to metric name to value (`nan` where the class has no test image).
        images: Number of images measured.
        curves: Named data for figures (confusion matrix, reliability bins, PR curves), plain JSON.
    """

    metrics: Mapping[str, MetricValue]
    per_class: Mapping[str, Mapping[str, float]]
    images: int
    curves: Mapping[str, object] = field(default_factory=dict)
