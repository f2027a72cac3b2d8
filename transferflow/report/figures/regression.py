"""Figures of a regression report."""

from __future__ import annotations

from transferflow.evaluation.curves import Curves, Scatter
from transferflow.report.figures.charts import MUTED, Chart, color, drawing, short, svg_of


def scatter_charts(curves: Curves) -> list[Chart]:
    """Truth against prediction, where there are numbers."""
    scatter = curves.scatter
    return [scatter_chart(scatter)] if scatter is not None and scatter.truth else []


def scatter_chart(scatter: Scatter) -> Chart:
    """A dot per image, and the diagonal on which a perfect model's would lie."""
    ends = (min(scatter.truth), max(scatter.truth))
    with drawing(4.8, 3.6) as (figure, axes):
        axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle="--")
        axes.scatter(scatter.truth, scatter.predicted, s=26, color=color(0), alpha=0.6, linewidths=0)
        axes.set_xlabel(f"{short(scatter.name)}, truth")
        axes.set_ylabel(f"{short(scatter.name)}, predicted")
        svg = svg_of(figure, "scatter")
    return Chart("Truth and prediction", svg, "A dot per test image; dashed: where both are the same.")
