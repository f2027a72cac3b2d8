"""Metrics: what they are called, how they are read, and which each task has.

How they are computed stands in `transferflow.evaluation`, which takes the names from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Scale = Literal["share", "gap", "distance", "explained"]
"""`share`: 0 to 1, more is better; `gap`: 0 to 1, less is better; `distance`: in the unit of the data, less
is better; `explained`: at most 1, below 0 for what is worse than the mean."""


@dataclass(frozen=True)
class Metric:
    """What a metric is called, and how it is read.

    Attributes:
        name: As specs and metrics.json have it.
        label: As the report has it.
        meaning: What it says, in half a sentence.
        scale: Which values it takes, and which are good.
    """

    name: str
    label: str
    meaning: str
    scale: Scale = "share"


SENSITIVITY = "sensitivity_at_specificity"
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "Accuracy", "share of test images whose class is right"),
        Metric("balanced_accuracy", "Balanced accuracy", "mean recall over the classes"),
        Metric("macro_f1", "Macro F1", "mean F1 over the classes"),
        Metric("auroc", "AUROC", "chance that a positive image ranks above a negative one"),
        Metric("average_precision", "Average precision", "mean precision over all recalls"),
        Metric(
            "ece", "Calibration error", "mean gap between confidence and accuracy; lower is better", "gap"
        ),
        Metric(
            SENSITIVITY,
            "Sensitivity at specificity",
            "share of a class's images that are found, mean over the classes",
        ),
        Metric("map", "mAP", "mean average precision over IoU 0.50 to 0.95"),
        Metric("map50", "mAP50", "mean average precision at IoU 0.50"),
        Metric("map75", "mAP75", "mean average precision at IoU 0.75"),
        Metric("map_small", "mAP small", "objects below 32 x 32 pixels"),
        Metric("map_medium", "mAP medium", "objects of 32 x 32 to 96 x 96 pixels"),
        Metric("map_large", "mAP large", "objects above 96 x 96 pixels"),
        Metric(
            "average_recall",
            "Average recall",
            "mean recall over IoU 0.50 to 0.95, at most 100 boxes an image",
        ),
        Metric("miou", "mIoU", "mean overlap of predicted and true regions"),
        Metric("dice", "Dice", "mean Dice coefficient over the classes"),
        Metric("pixel_accuracy", "Pixel accuracy", "share of pixels whose class is right"),
        Metric("boundary_f1", "Boundary F1", "how well the outlines agree"),
        Metric("mae", "Mean absolute error", "mean distance from the truth, in its unit", "distance"),
        Metric("rmse", "RMSE", "root of the mean squared distance from the truth, in its unit", "distance"),
        Metric(
            "r2", "R²", "share of the variance that is explained; 0: no better than the mean", "explained"
        ),
    )
}
"""Every metric that any task has, by name."""


@dataclass(frozen=True)
class TaskMetrics:
    """A task's metrics; the first is the main one.

    Attributes:
        metrics: What is measured on a split.
        needs: What a split must hold so that they can be computed.
        per_class: Metrics of each class, 0..1.
    """

    metrics: tuple[Metric, ...]
    needs: str
    per_class: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(metric.name for metric in self.metrics)

    @property
    def main(self) -> str:
        """The metric that decides unless the spec names another."""
        return self.metrics[0].name

    @property
    def lower_is_better(self) -> frozenset[str]:
        """Metrics of which less is better."""
        return self._of("gap", "distance")

    @property
    def unbounded(self) -> frozenset[str]:
        """Metrics that are not from 0 to 1: those in the unit of the data, and those below 0."""
        return self._of("distance", "explained")

    @property
    def in_the_unit(self) -> frozenset[str]:
        """Metrics in the unit of the data."""
        return self._of("distance")

    def _of(self, *scales: Scale) -> frozenset[str]:
        return frozenset(metric.name for metric in self.metrics if metric.scale in scales)


def _named(*names: str) -> tuple[Metric, ...]:
    return tuple(METRICS[name] for name in names)


SINGLE_LABEL = TaskMetrics(
    _named("accuracy", "balanced_accuracy", "macro_f1", "auroc", "ece", SENSITIVITY),
    "images of at least two classes",
    per_class=("recall", "precision", "f1", "auroc"),
)
MULTI_LABEL = TaskMetrics(
    _named("auroc", "macro_f1", "accuracy", "ece", "average_precision"),
    "images with a class and images without it",
    per_class=("recall", "precision", "f1", "auroc", "average_precision"),
)
DETECTION = TaskMetrics(
    _named("map", "map50", "map75", "map_small", "map_medium", "map_large", "average_recall"),
    "at least one box",
    per_class=("ap", "ap50", "ap75", "average_recall"),
)
SEGMENTATION = TaskMetrics(
    _named("miou", "dice", "pixel_accuracy", "boundary_f1"),
    "at least one labelled pixel",
    per_class=("iou", "dice", "precision", "recall", "boundary_f1"),
)
REGRESSION = TaskMetrics(_named("mae", "rmse", "r2"), "images with different numbers")
