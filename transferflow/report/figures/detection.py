"""Figures of a detection report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transferflow.evaluation.curves import Curves
from transferflow.report.figures.charts import MUTED, Chart, color, drawing, svg_of
from transferflow.report.wording import count, number

BUCKET_LIMITS = {"small": "below 32²", "medium": "32² to 96²", "large": "above 96²"}


def threshold_charts(curves: Curves) -> list[Chart]:
    """Precision, recall and F1 against the least score that a box must have, where any box is right."""
    sweep = curves.thresholds
    if sweep is None or all(recall is None for recall in sweep.recall):
        return []
    with drawing(4.8, 3.6) as (figure, axes):
        lines: tuple[tuple[str, Sequence[float | None]], ...] = (
            ("precision", sweep.precision),
            ("recall", sweep.recall),
            ("F1", sweep.f1),
        )
        for series, (name, values) in enumerate(lines):
            line = np.array([np.nan if v is None else v for v in values])
            axes.plot(sweep.score, line, color=color(series), label=name)
        axes.axvline(sweep.best, color=MUTED, linewidth=1, linestyle="--")
        axes.set_xlabel("least score")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.03)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, handlelength=1.4)
        svg = svg_of(figure, "thresholds")
    caption = f"At IoU 0.5, over all classes. F1 is best at a score of {number(sweep.best, 2)} (dashed)."
    return [Chart("What a least score costs", svg, caption)]


def size_charts(curves: Curves) -> list[Chart]:
    """Average precision and recall per size bucket, where there are objects."""
    sizes = curves.sizes
    if sizes is None or not any(sizes.objects):
        return []
    places = np.arange(len(sizes.name))
    with drawing(4.8, 3.6) as (figure, axes):
        for series, (name, values) in enumerate(
            {"average precision": sizes.average_precision, "average recall": sizes.average_recall}.items()
        ):
            heights = [0.0 if v is None else v for v in values]
            bars = axes.bar(places + 0.38 * series - 0.19, heights, 0.34, color=color(series), label=name)
            axes.bar_label(bars, [number(v, 2) for v in values], padding=2, fontsize=9, color=MUTED)
        labels = [
            f"{name}\n{BUCKET_LIMITS.get(name, '')}\n{count(n)} objects"
            for name, n in zip(sizes.name, sizes.objects, strict=True)
        ]
        axes.set_xticks(places, labels)
        axes.set_ylim(0, 1.08)
        axes.grid(visible=False, axis="x")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, handlelength=1.2)
        svg = svg_of(figure, "sizes")
    return [Chart("By size of the object", svg, "Sizes in square pixels; mean over IoU 0.50 to 0.95.")]
