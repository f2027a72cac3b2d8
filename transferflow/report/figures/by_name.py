"""The figures of an evaluation, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from transferflow.evaluation.figures import FigureName
from transferflow.evaluation.results import Evaluation
from transferflow.report.figures.charts import Chart
from transferflow.report.figures.class_bars import class_bars
from transferflow.report.figures.classification import reliability_charts
from transferflow.report.figures.confusion import confusion_charts
from transferflow.report.figures.detection import size_charts, threshold_charts
from transferflow.report.figures.ranking import precision_recall_charts, roc_charts
from transferflow.report.figures.regression import scatter_charts
from transferflow.report.figures.segmentation import image_charts


def task_charts(figures: Sequence[FigureName], evaluation: Evaluation, classes: Sequence[str]) -> list[Chart]:
    """Draw the figures that a task names, in its order; those without numbers are left out.

    Args:
        figures: Which figures.
        evaluation: What they show.
        classes: Class names in order, which is that of their colours.
    """
    return [chart for figure in figures for chart in _charts(figure, evaluation, classes)]


def _charts(figure: FigureName, evaluation: Evaluation, classes: Sequence[str]) -> list[Chart]:
    curves, per_class = evaluation.curves, evaluation.per_class
    match figure:
        case "confusion":
            return confusion_charts(curves)
        case "pixel_confusion":
            return confusion_charts(curves, percent=True)
        case "reliability":
            return reliability_charts(evaluation)
        case "class_f1":
            return class_bars(per_class, "f1", ("precision", "recall"), "F1")
        case "class_ap":
            return class_bars(per_class, "ap50", ("ap", "ap75"), "AP50")
        case "class_iou":
            return class_bars(per_class, "iou", ("dice", "boundary_f1"), "IoU")
        case "roc":
            return roc_charts(curves, classes)
        case "precision_recall":
            return precision_recall_charts(curves, classes)
        case "box_precision_recall":
            return precision_recall_charts(curves, classes, " At IoU 0.5.")
        case "least_scores":
            return threshold_charts(curves)
        case "object_sizes":
            return size_charts(curves)
        case "image_iou":
            return image_charts(curves)
        case "truth_and_prediction":
            return scatter_charts(curves)
        case _:
            assert_never(figure)
