"""Figures of a segmentation report."""

from __future__ import annotations

from collections.abc import Mapping

from transferflow.report.curves import IMAGE_IOU, Histogram, read_curve
from transferflow.report.figures.charts import Chart, color, drawing, svg_of, whole_numbers


def image_charts(curves: Mapping[str, object]) -> list[Chart]:
    """Spread of the overlap over the images, where any has one."""
    histogram = read_curve(curves, "image_iou", IMAGE_IOU)
    return [image_chart(histogram)] if histogram is not None and any(histogram.count) else []


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
