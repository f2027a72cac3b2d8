"""One bar per class, worst first: for every task alike."""

from __future__ import annotations

import math
from collections.abc import Mapping

from transferflow.report.figures.charts import INK, Chart, color, drawing, short, svg_of
from transferflow.report.wording import metric_label

SHOWN_CLASSES = 25


def class_bars(
    per_class: Mapping[str, Mapping[str, float]], main: str, marks: tuple[str, str], label: str
) -> list[Chart]:
    """Bars of one per-class metric with marks for others; empty when no class has a value.

    Args:
        per_class: Class name to metric name to value.
        main: Metric that the bars show and that sorts them.
        marks: Metrics drawn as dots on the bars.
        label: Name of `main` on the axis.
    """
    rows = [(name, row) for name, row in per_class.items() if math.isfinite(row.get(main, math.nan))]
    if not rows:
        return []
    worst = sorted(rows, key=lambda item: item[1][main])[:SHOWN_CLASSES]
    with drawing(4.8, max(1.3, 0.9 + 0.24 * len(worst))) as (figure, axes):
        places = range(len(worst))
        axes.barh(places, [row[main] for _, row in worst], 0.7, color=color(0), alpha=0.85, label=label)
        for mark, marker in zip(marks, ("|", "x"), strict=True):
            values = [row.get(mark, math.nan) for _, row in worst]
            label_of_mark = metric_label(mark)
            # Not clipped: a mark at 0 would be cut in half.
            axes.scatter(
                values, places, marker=marker, s=42, color=INK, zorder=3, clip_on=False, label=label_of_mark
            )
        axes.set_yticks(places, [short(name, 30) for name, _ in worst])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.02)
        axes.grid(visible=False, axis="y")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, handlelength=1.2)
        svg = svg_of(figure, f"class-{main}")
    caption = f"The {SHOWN_CLASSES} worst of {len(rows)} classes." if len(rows) > SHOWN_CLASSES else ""
    return [Chart(f"{label} per class", svg, caption or ("Worst class first." if len(rows) > 1 else ""))]
