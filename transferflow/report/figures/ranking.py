"""ROC and precision-recall curves."""

from __future__ import annotations

from collections.abc import Mapping

from transferflow.report.curves import DELONG, OPERATING_POINTS, PRECISION_RECALL, ROC, read_curve
from transferflow.report.figures.charts import MUTED, Chart, color, drawing, short, svg_of
from transferflow.report.wording import number

DRAWN_CURVES = 6


def roc_charts(curves: Mapping[str, object]) -> list[Chart]:
    """ROC curves of the classes that rank worst, with the operating point where there is one class."""
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
            f"(each image for itself) {number(delong.low)} to {number(delong.high)}. "
            "The dot is the operating point."
        )
    return [Chart("ROC", svg, caption)]


def precision_recall_charts(curves: Mapping[str, object], note: str = "") -> list[Chart]:
    """Precision-recall curves of the classes that rank worst; `note` ends the caption."""
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
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(0, 1.03)
        axes.legend(loc="best", title="Average precision", title_fontsize=8.5, alignment="left")
        return [
            Chart(
                "Precision and recall",
                svg_of(figure, "precision-recall"),
                (_shown(len(worst), len(found)) + note).strip(),
            )
        ]


def _shown(shown: int, kept: int) -> str:
    if kept > shown:
        return f"The {shown} classes that rank worst."
    return "One curve per class." if kept > 1 else ""
