"""Which metrics each task has, as names; how they are computed stands in `transferflow.evaluation`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricNames:
    """Names of a task's metrics; the first is the main one.

    Attributes:
        names: The metrics.
        needs: What a split must hold so that they can be computed.
        lower_is_better: Metrics of which less is better.
        unbounded: Metrics that are not from 0 to 1: those in the unit of the data, and those below 0.
        per_class: Metrics of each class, 0..1.
    """

    names: tuple[str, ...]
    needs: str
    lower_is_better: frozenset[str] = frozenset({"ece", "loss"})
    unbounded: frozenset[str] = frozenset()
    per_class: tuple[str, ...] = ()

    @property
    def main(self) -> str:
        """The metric that decides unless the spec names another."""
        return self.names[0]


SENSITIVITY = "sensitivity_at_specificity"
SINGLE_LABEL = MetricNames(
    ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "ece", SENSITIVITY),
    "images of at least two classes",
    per_class=("recall", "precision", "f1", "auroc"),
)
MULTI_LABEL = MetricNames(
    ("auroc", "macro_f1", "accuracy", "ece", "average_precision"),
    "images with a class and images without it",
    per_class=("recall", "precision", "f1", "auroc", "average_precision"),
)
DETECTION = MetricNames(
    ("map", "map50", "map75", "map_small", "map_medium", "map_large", "average_recall"),
    "at least one box",
    per_class=("ap", "ap50", "ap75", "average_recall"),
)
SEGMENTATION = MetricNames(
    ("miou", "dice", "pixel_accuracy", "boundary_f1"),
    "at least one labelled pixel",
    per_class=("iou", "dice", "precision", "recall", "boundary_f1"),
)
REGRESSION = MetricNames(
    ("mae", "rmse", "r2"),
    "images with different numbers",
    lower_is_better=frozenset({"mae", "rmse", "loss"}),
    unbounded=frozenset({"mae", "rmse", "r2"}),
)
