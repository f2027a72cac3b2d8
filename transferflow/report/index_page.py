"""The index of a home: every run with a link to its report, and each model's history as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transferflow.report.figures.charts import SERIES, Chart, drawing, short, svg_of
from transferflow.report.page import render_page
from transferflow.report.wording import metric_label
from transferflow.store import write_atomic

TEMPLATE = "index.html"


@dataclass(frozen=True)
class IndexRow:
    """One run.

    Attributes:
        name: The spec's name.
        link: Address of its report relative to the index; empty where it is gone.
        version: Number of the version.
        aliases: Names that point to it today.
        when: When the verdict was reached.
        metric: The metric that decided and its value, in words.
        verdict: PROMOTE, HOLD or REJECT.
        reasons: Why.
        trained: Training time, in words.
        changed: What changed since the spec's run before, in words.
    """

    name: str
    link: str
    version: str
    aliases: str
    when: str
    metric: str
    verdict: str
    reasons: tuple[str, ...]
    trained: str
    changed: str


@dataclass(frozen=True)
class HistoryPoint:
    """A version in a model's history.

    Attributes:
        version: Its number.
        value: The metric that decided.
        low: Lower end of its interval; `None` without one.
        high: Upper end.
        promoted: Whether it was promoted.
    """

    version: int
    value: float
    low: float | None
    high: float | None
    promoted: bool


def write_index(
    path: Path,
    home: str,
    rows: Sequence[IndexRow],
    histories: Mapping[tuple[str, str], Sequence[HistoryPoint]],
) -> None:
    """Write one HTML file whose only links are those to the reports beside it.

    Args:
        path: Where to; replaced in one step if it exists.
        home: Which home it is about.
        rows: The runs, the latest first.
        histories: Of each model and metric, the oldest version first; a single version is no history.
    """
    charts = [
        history_chart(model, metric, points, number)
        for number, ((model, metric), points) in enumerate(histories.items())
        if len(points) > 1
    ]
    facts = {"home": home, "runs": len(rows)}
    write_atomic(path, render_page(TEMPLATE, {"facts": facts, "rows": rows, "charts": charts}))


def history_chart(model: str, metric: str, points: Sequence[HistoryPoint], number: int) -> Chart:
    """The deciding metric of each version with its interval; champions are filled.

    Args:
        model: Name of the registered model.
        metric: The metric.
        points: The versions, the oldest first.
        number: Tells the figures of a page apart.
    """
    with drawing(4.8, 2.6) as (figure, axes):
        for point in points:
            if point.low is not None and point.high is not None:
                axes.plot([point.version] * 2, [point.low, point.high], color=SERIES[0], linewidth=1.2)
        for promoted, face in ((False, "none"), (True, SERIES[0])):
            shown = [point for point in points if point.promoted is promoted]
            axes.scatter(
                [point.version for point in shown],
                [point.value for point in shown],
                s=46,
                facecolors=face,
                edgecolors=SERIES[0],
                zorder=3,
            )
        axes.set_xticks([point.version for point in points][-20:])
        axes.set_xlabel("version")
        axes.set_ylabel(metric_label(metric))
        svg = svg_of(figure, f"history-{number}")
    caption = "Filled: promoted. Each version on the test images of its day, with its 95 % interval."
    return Chart(short(model, 40), svg, caption)
