"""Names and numbers as a reader wants to see them."""

from __future__ import annotations

import math
from collections.abc import Callable

from transferflow.evaluation.results import MetricValue
from transferflow.spec.sections.metrics import METRICS

DASH = "\u2013"
"""Stands where there is no value."""

_CLASS_LABELS = {"f1": "F1", "iou": "IoU", "ap": "AP", "ap50": "AP50", "ap75": "AP75"}
"""Columns of the table of classes that are no metrics of a split."""


def metric_label(name: str) -> str:
    """A metric's name in words."""
    if name in METRICS:
        return METRICS[name].label
    return _CLASS_LABELS.get(name, name.replace("_", " "))


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits; a dash where there is none."""
    return DASH if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def fraction(value: float) -> str:
    """A number that a person has set: two digits, or as many as it has."""
    return f"{value:.2f}" if round(value, 2) == value else f"{value:g}"


def in_unit(value: float) -> str:
    """A number of any size, in the unit of the data: four digits; a dash where there is none."""
    return f"{value:.4g}" if math.isfinite(value) else DASH


def interval(metric: MetricValue, show: Callable[[float], str] = number) -> str:
    """`0.912 to 0.954`, or nothing without an interval."""
    if metric.low is None or metric.high is None:
        return ""
    return f"{show(metric.low)} to {show(metric.high)}"


def rate(low: float | None, high: float | None) -> str:
    """A learning rate, or the range of one; a dash for a frozen group."""
    if low is None or high is None:
        return DASH
    return f"{low:.2g}" if math.isclose(low, high) else f"{low:.2g} to {high:.2g}"


def count(value: float) -> str:
    """A whole number with thin separators: `11 176 512`."""
    return f"{int(value):,}".replace(",", "\u202f")


def count_short(value: float) -> str:
    """A parameter count at a glance: `11.2 M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f}\u202f{unit}"
    return str(int(value))
