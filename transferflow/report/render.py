"""One self-contained HTML page from report data."""

from __future__ import annotations

from pathlib import Path

from transferflow.report.beside import baseline_notes, baseline_table, say_sets, slice_tables, threshold_table
from transferflow.report.contents import ReportData
from transferflow.report.figures.by_name import task_charts
from transferflow.report.figures.training import training_charts
from transferflow.report.inline_images import inline_picture
from transferflow.report.page import render_page
from transferflow.report.sections import (
    class_legend,
    class_note,
    class_table,
    data_table,
    layer_table,
    metric_cards,
    metric_title,
    parameter_share,
    preflight_table,
    proof_table,
)
from transferflow.report.wording import count
from transferflow.store import write_atomic

TEMPLATE = "report.html"


def write_report(data: ReportData, path: Path) -> None:
    """Write one HTML file that needs nothing else: no network, no script, no other file.

    Args:
        data: What to show.
        path: Where to; replaced in one step if it exists.
    """
    write_atomic(path, render_report(data))


def render_report(data: ReportData) -> str:
    """The page as text."""
    values = {
        "data": data,
        "facts": dict(data.facts) | {"test images": count(data.evaluation.images)},
        "cards": metric_cards(data),
        "chosen_by": metric_title(data, data.training.metric),
        "charts": task_charts(data.traits.figures, data.evaluation, data.classes),
        "legend": class_legend(data),
        "points": data.evaluation.curves.operating_points or [],
        "confused": data.evaluation.curves.confused or [],
        "class_table": class_table(data.evaluation),
        "class_note": class_note(data),
        "thresholds": threshold_table(data),
        "sets": say_sets(data.evaluation.sets) if data.evaluation.sets else "",
        "baselines": baseline_table(data),
        "baseline_notes": baseline_notes(data),
        "slices": slice_tables(data),
        "worst": [inline_picture(picture) for picture in data.worst],
        "examples": [inline_picture(picture) for picture in data.examples],
        "training_charts": training_charts(data.training, data.metrics.lower_is_better),
        "layer_table": layer_table(data.training),
        "parameter_share": parameter_share(data.training.layers),
        "proof_table": proof_table(data.training),
        "preflight_table": preflight_table(data.training.preflight),
        "data_table": data_table(data.data, data.classes, data.traits),
        "samples": [inline_picture(picture) for picture in data.data.samples],
    }
    return render_page(TEMPLATE, values)
