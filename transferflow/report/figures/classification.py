"""Figures of a classification report."""

from __future__ import annotations

import numpy as np

from transferflow.evaluation.curves import Reliability
from transferflow.evaluation.results import Evaluation
from transferflow.report.figures.charts import MUTED, Chart, color, styled_figure, svg_of, whole_numbers
from transferflow.report.wording import interval, number


def reliability_charts(evaluation: Evaluation) -> list[Chart]:
    """Accuracy against confidence per bin, above a histogram of the confidences."""
    bins = evaluation.curves.reliability
    if bins is None:
        return []
    ece = evaluation.metrics.get("ece")
    with styled_figure() as figure:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="perfect")
        for low, high, accuracy, confidence in zip(
            bins.low, bins.high, bins.accuracy, bins.confidence, strict=True
        ):
            if accuracy is None or confidence is None:
                continue
            middle, width = (low + high) / 2, (high - low) * 0.9
            base, gap = min(accuracy, confidence), abs(accuracy - confidence)
            too_sure = confidence > accuracy
            top.bar(middle, base, width, color=color(0), alpha=0.85)
            top.bar(middle, gap, width, bottom=base, color=color(1 if too_sure else 0), alpha=0.4)
        top.set_ylabel("accuracy")
        top.set_ylim(0, 1.02)
        middles = (np.array(bins.low) + np.array(bins.high)) / 2
        bottom.bar(middles, bins.count, 0.9 / len(middles), color=MUTED, alpha=0.6)
        bottom.set_xlabel("confidence")
        bottom.set_ylabel("count")
        bottom.yaxis.set_major_locator(whole_numbers(3))
        bottom.set_xlim(0, 1)
        svg = svg_of(figure, "reliability")
    caption = _gaps(bins)
    if ece is not None:
        caption += f" Calibration error {number(ece.value)}"
        caption += f" (95 %: {interval(ece)})." if interval(ece) else "."
    return [Chart("Reliability", svg, caption.strip())]


def _gaps(bins: Reliability) -> str:
    """What the colours of the gaps mean, of those that are there."""
    pairs = [
        (accuracy, confidence)
        for accuracy, confidence in zip(bins.accuracy, bins.confidence, strict=True)
        if accuracy is not None and confidence is not None
    ]
    too_sure = "Orange: surer than right." if any(right < sure for right, sure in pairs) else ""
    modest = "Pale blue: more often right than sure." if any(right > sure for right, sure in pairs) else ""
    return f"{too_sure} {modest}".strip()
