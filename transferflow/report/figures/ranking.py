"""ROC and precision-recall curves."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from transferflow.evaluation.curves import Curves
from transferflow.report.figures.charts import INK, MUTED, Chart, class_line, drawing, short, svg_of
from transferflow.report.wording import number

DRAWN_CURVES = 6


def roc_charts(curves: Curves, classes: Sequence[str]) -> list[Chart]:
    """ROC curves of the classes that rank worst, with the operating point where there is one class."""
    roc, delong = curves.roc, curves.delong
    if not roc:
        return []
    points = {point.name: point for point in curves.operating_points or []}
    worst = sorted(roc, key=lambda curve: curve.auroc)[:DRAWN_CURVES]
    shows_point = len(roc) == 1 and roc[0].name in points
    with drawing(4.8, 3.9) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
        for curve in worst:
            label = f"{short(curve.name)}: {number(curve.auroc)}"
            axes.plot(curve.fpr, curve.tpr, label=label, **class_line(_place(curve.name, classes)))
        if shows_point:
            point = points[roc[0].name]
            axes.plot(1 - point.specificity, point.sensitivity, "o", color=INK, zorder=5)
        axes.set_xlabel("false positive rate (1 - specificity)")
        axes.set_ylabel("sensitivity")
        _legend_above(axes, "AUROC", len(worst))
        svg = svg_of(figure, "roc")
    caption = _shown(len(worst), len(roc))
    if delong is not None:
        caption = (
            f"AUROC of {delong.name}: {number(delong.auroc)}, DeLong 95 % interval "
            f"(each image for itself) {number(delong.low)} to {number(delong.high)}."
        )
    if shows_point:
        caption = f"{caption} The dot is the operating point.".strip()
    return [Chart("ROC", svg, caption)]


def precision_recall_charts(curves: Curves, classes: Sequence[str], note: str = "") -> list[Chart]:
    """Precision-recall curves of the classes that rank worst; `note` ends the caption."""
    found = curves.precision_recall
    if not found:
        return []
    worst = sorted(found, key=lambda curve: curve.average_precision)[:DRAWN_CURVES]
    with drawing(4.8, 3.9) as (figure, axes):
        for curve in worst:
            label = f"{short(curve.name)}: {number(curve.average_precision)}"
            line = class_line(_place(curve.name, classes))
            axes.step(curve.recall, curve.precision, where="pre", label=label, **line)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(0, 1.03)
        _legend_above(axes, "Average precision", len(worst))
        return [
            Chart(
                "Precision and recall",
                svg_of(figure, "precision-recall"),
                (_shown(len(worst), len(found)) + note).strip(),
            )
        ]


def _place(name: str, classes: Sequence[str]) -> int:
    return classes.index(name) if name in classes else 0


def _legend_above(axes: Axes, title: str, lines: int) -> None:
    """Above the axes, where it covers no curve."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=min(2, lines),
        borderaxespad=0.2,
        handlelength=1.6,
        title=title,
        title_fontsize=8.5,
        alignment="left",
    )


def _shown(shown: int, kept: int) -> str:
    if kept > shown:
        return f"The {shown} classes that rank worst."
    return "One curve per class." if kept > 1 else ""
