"""Figures of a segmentation report."""

from __future__ import annotations

from transferflow.evaluation.curves import Curves
from transferflow.report.figures.charts import Chart, color, drawing, svg_of, whole_numbers


def image_charts(curves: Curves) -> list[Chart]:
    """How many images have which mean IoU, where any has one."""
    histogram = curves.image_iou
    if histogram is None or not any(histogram.count):
        return []
    with drawing() as (figure, axes):
        widths = [high - low for low, high in zip(histogram.low, histogram.high, strict=True)]
        axes.bar(histogram.low, histogram.count, widths, align="edge", color=color(0), alpha=0.85)
        axes.set_xlim(0, 1)
        axes.set_xlabel("mean IoU of an image")
        axes.set_ylabel("images")
        axes.yaxis.set_major_locator(whole_numbers())
        axes.grid(visible=False, axis="x")
        svg = svg_of(figure, "image-iou")
    caption = "Images far to the left are worth a look: see the worst errors."
    return [Chart("Spread over the images", svg, caption)]
