"""Names and numbers as a reader wants to see them."""

from __future__ import annotations

import math
from collections.abc import Callable

from transferflow.evaluation.results import MetricValue

DASH = "\u2013"
"""Stands where there is no value."""

METRIC_LABELS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "ece": "Calibration error",
    "sensitivity_at_specificity": "Sensitivity at specificity",
    "map": "mAP",
    "map50": "mAP50",
    "map75": "mAP75",
    "map_small": "mAP small",
    "map_medium": "mAP medium",
    "map_large": "mAP large",
    "average_recall": "Average recall",
    "miou": "mIoU",
    "iou": "IoU",
    "dice": "Dice",
    "pixel_accuracy": "Pixel accuracy",
    "boundary_f1": "Boundary F1",
    "mae": "Mean absolute error",
    "rmse": "RMSE",
    "r2": "R²",
    "f1": "F1",
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
}
METRIC_MEANINGS = {
    "accuracy": "share of test images whose class is right",
    "balanced_accuracy": "mean recall over the classes",
    "macro_f1": "mean F1 over the classes",
    "auroc": "chance that a positive image ranks above a negative one",
    "average_precision": "mean precision over all recalls",
    "ece": "mean gap between confidence and accuracy; lower is better",
    "sensitivity_at_specificity": "share of a class's images that are found, mean over the classes",
    "map": "mean average precision over IoU 0.50 to 0.95",
    "map50": "mean average precision at IoU 0.50",
    "map75": "mean average precision at IoU 0.75",
    "map_small": "objects below 32 x 32 pixels",
    "map_medium": "objects of 32 x 32 to 96 x 96 pixels",
    "map_large": "objects above 96 x 96 pixels",
    "average_recall": "mean recall over IoU 0.50 to 0.95, at most 100 boxes an image",
    "miou": "mean overlap of predicted and true regions",
    "dice": "mean Dice coefficient over the classes",
    "pixel_accuracy": "share of pixels whose class is right",
    "boundary_f1": "how well the outlines agree",
    "mae": "mean distance from the truth, in its unit",
    "rmse": "root of the mean squared distance from the truth, in its unit",
    "r2": "share of the variance that is explained; 0: no better than the mean",
}


def metric_label(name: str) -> str:
    """A metric's name in words."""
    return METRIC_LABELS.get(name, name.replace("_", " "))


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
