"""Figures of a classification report."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from transferflow.evaluation.results import Evaluation
from transferflow.report.charts import INK, MUTED, Chart, color, drawing, short, styled_figure, svg_of
from transferflow.report.class_bars import class_bars
from transferflow.report.curves import (
    CONFUSION,
    DELONG,
    OPERATING_POINTS,
    PRECISION_RECALL,
    RELIABILITY,
    ROC,
    Confusion,
    OperatingPoint,
    Reliability,
    read_curve,
)
from transferflow.report.wording import interval, number

DRAWN_CURVES = 6
NUMBERED_CELLS = 12
NAMED_TICKS = 40


def classification_charts(evaluation: Evaluation) -> list[Chart]:
    """Confusion matrix, reliability, per-class bars, ROC and precision-recall curves."""
    curves = evaluation.curves
    charts: list[Chart] = []
    confusion = read_curve(curves, "confusion", CONFUSION)
    if confusion is not None:
        charts.append(confusion_chart(confusion))
    reliability = read_curve(curves, "reliability", RELIABILITY)
    if reliability is not None:
        charts.append(reliability_chart(reliability, evaluation))
    charts.extend(class_bars(evaluation.per_class, "f1", ("precision", "recall"), "F1"))
    charts.extend(_roc_charts(curves))
    charts.extend(_precision_recall_charts(curves))
    return charts


def operating_points(evaluation: Evaluation) -> list[OperatingPoint]:
    """Operating points, for the table under the curves."""
    return read_curve(evaluation.curves, "operating_points", OPERATING_POINTS) or []


def confusion_chart(confusion: Confusion) -> Chart:
    """Confusion matrix of any size: numbers in the cells up to 12 classes, names up to 40."""
    names = [short(name, 16) for name in confusion.classes]
    counts = np.array(confusion.counts)
    size = len(names)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    inches = float(np.clip(1.5 + 0.34 * size, 3.4, 9.0))
    with drawing(inches + 0.6, inches) as (figure, axes):
        axes.grid(visible=False)
        axes.imshow(_cells(share), interpolation="none", aspect="equal")
        axes.spines[:].set_visible(False)
        if size <= NUMBERED_CELLS:
            _write_cells(axes, counts, share)
        _name_axes(axes, names)
        svg = svg_of(figure, "confusion")
    caption = "Rows are the truth, columns the prediction; the darker, the larger the share of the row."
    if size > NAMED_TICKS:
        caption += " Class names stand in the table below, in this order."
    wide = size > NUMBERED_CELLS
    return Chart("Confusion matrix", svg, caption, "full" if wide else "half", 720 if wide else 0)


def _cells(share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # Transparent colour, so that an empty cell takes the page's own background in light and dark.
    cells = np.empty((*share.shape, 4))
    cells[..., :3] = to_rgb(color(1))
    diagonal = np.arange(len(share))
    cells[diagonal, diagonal, :3] = to_rgb(color(0))
    cells[..., 3] = np.where(share > 0, 0.12 + 0.8 * share, 0.0)
    return cells


def _write_cells(axes: Axes, counts: npt.NDArray[np.int64], share: npt.NDArray[np.float64]) -> None:
    for (row, column), images in np.ndenumerate(counts):
        if images:
            ink = "#ffffff" if share[row, column] > 0.5 else INK
            axes.text(column, row, f"{images}", ha="center", va="center", color=ink, fontsize=8.5)
        else:
            axes.text(column, row, "·", ha="center", va="center", color=MUTED, fontsize=8.5)


def _name_axes(axes: Axes, names: list[str]) -> None:
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    axes.tick_params(length=0)
    if len(names) > NAMED_TICKS:
        return
    size = 8.5 if len(names) <= NUMBERED_CELLS else 7.5
    flat = max(len(name) for name in names) <= 3 or len(names) == 2
    axes.set_xticks(range(len(names)), names, rotation=0 if flat else 90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)


def reliability_chart(bins: Reliability, evaluation: Evaluation) -> Chart:
    """Accuracy against confidence per bin, above a histogram of the confidences."""
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
        bottom.set_xlim(0, 1)
        svg = svg_of(figure, "reliability")
    caption = "Orange: surer than right. Pale blue: more often right than sure."
    if ece is not None:
        caption += f" Calibration error {number(ece.value)}"
        caption += f" (95 %: {interval(ece)})." if interval(ece) else "."
    return Chart("Reliability", svg, caption)


def _roc_charts(curves: Mapping[str, object]) -> list[Chart]:
    roc = read_curve(curves, "roc", ROC)
    if not roc:
        return []
    delong = read_curve(curves, "delong", DELONG)
    points = {p.name: p for p in read_curve(curves, "operating_points", OPERATING_POINTS) or []}
    worst = sorted(roc, key=lambda curve: curve.auroc)[:DRAWN_CURVES]
    with drawing(4.8, 3.6) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
        for series, curve in enumerate(worst):
            label = f"{short(curve.name)}: {number(curve.auroc)}"
            axes.plot(curve.fpr, curve.tpr, color=color(series), label=label)
            point = points.get(curve.name)
            if point is not None and len(roc) == 1:
                axes.plot(1 - point.specificity, point.sensitivity, "o", color=color(1), zorder=5)
        axes.set_xlabel("false positive rate (1 - specificity)")
        axes.set_ylabel("sensitivity")
        axes.legend(loc="lower right", title="AUROC", title_fontsize=8.5, alignment="left")
        svg = svg_of(figure, "roc")
    caption = _shown(len(worst), len(roc))
    if delong is not None:
        caption = (
            f"AUROC of {delong.name}: {number(delong.auroc)}, DeLong 95 % interval "
            f"{number(delong.low)} to {number(delong.high)}. The dot is the operating point."
        )
    return [Chart("ROC", svg, caption)]


def _precision_recall_charts(curves: Mapping[str, object]) -> list[Chart]:
    found = read_curve(curves, "precision_recall", PRECISION_RECALL)
    if not found:
        return []
    worst = sorted(found, key=lambda curve: curve.average_precision)[:DRAWN_CURVES]
    with drawing(4.8, 3.6) as (figure, axes):
        for series, curve in enumerate(worst):
            label = f"{short(curve.name)}: {number(curve.average_precision)}"
            axes.step(curve.recall, curve.precision, where="pre", color=color(series), label=label)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        axes.set_ylim(0, 1.03)
        axes.legend(loc="lower left", title="Average precision", title_fontsize=8.5, alignment="left")
        return [
            Chart("Precision and recall", svg_of(figure, "precision-recall"), _shown(len(worst), len(found)))
        ]


def _shown(shown: int, kept: int) -> str:
    return f"The {shown} classes that rank worst." if kept > shown else "One curve per class."
