"""Figures of a segmentation report."""

from __future__ import annotations

from transferflow.evaluation.results import Evaluation
from transferflow.report.curves import CONFUSION, IMAGE_IOU, Histogram, read_curve
from transferflow.report.figures.charts import Chart, color, drawing, svg_of, whole_numbers
from transferflow.report.figures.class_bars import class_bars
from transferflow.report.figures.confusion import confusion_chart


def segmentation_charts(evaluation: Evaluation) -> list[Chart]:
    """Per-class bars, confusion of pixels, spread over the images."""
    charts = class_bars(evaluation.per_class, "iou", ("dice", "boundary_f1"), "IoU")
    confusion = read_curve(evaluation.curves, "confusion", CONFUSION)
    if confusion is not None and any(map(any, confusion.counts)):
        charts.append(confusion_chart(confusion, percent=True))
    histogram = read_curve(evaluation.curves, "image_iou", IMAGE_IOU)
    if histogram is not None and any(histogram.count):
        charts.append(image_chart(histogram))
    return charts


def image_chart(histogram: Histogram) -> Chart:
    """How many images have which mean IoU."""
    with drawing() as (figure, axes):
        widths = [high - low for low, high in zip(histogram.low, histogram.high, strict=True)]
        axes.bar(histogram.low, histogram.count, widths, align="edge", color=color(0), alpha=0.85)
        axes.set_xlim(0, 1)
        axes.set_xlabel("mean IoU of an image")
        axes.set_ylabel("images")
        axes.yaxis.set_major_locator(whole_numbers())
        axes.grid(visible=False, axis="x")
        svg = svg_of(figure, "image-iou")
    return Chart(
        "Spread over the images", svg, "Images far to the left are worth a look: see the worst errors."
    )
