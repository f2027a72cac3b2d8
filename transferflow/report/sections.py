"""Tables and cards of the page: from report data to rows of text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transferflow.data.records import SPLITS
from transferflow.evaluation.figures import ReportTraits
from transferflow.evaluation.results import Evaluation
from transferflow.report.contents import DataSummary, LayerRow, ReportData, TrainingSummary
from transferflow.report.wording import (
    DASH,
    count,
    count_short,
    fraction,
    in_unit,
    interval,
    metric_label,
    number,
    rate,
)
from transferflow.spec.sections.metrics import METRICS, SENSITIVITY
from transferflow.tasks.rendering.drawing import class_colour
from transferflow.training.preflight.contents import Preflight, Verdict


@dataclass(frozen=True)
class MetricCard:
    """A metric at a glance; `low`, `value` and `high` are percent of the bar, `None` without a bar."""

    label: str
    value: str
    interval: str
    note: str
    main: bool
    bar: tuple[float, float, float] | None


@dataclass(frozen=True)
class Table:
    """Rows of text; columns in `numeric` are set right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int]


VERDICTS: Mapping[Verdict, str] = {"fine": "fine", "look": "worth a look", "": ""}
"""Of a check of the preflight, in words."""


def metric_title(data: ReportData, name: str) -> str:
    """A metric's name in words; that of a sensitivity says of which class and at which specificity."""
    if name != SENSITIVITY or data.specificity is None:
        return metric_label(name)
    of = f" of {data.positive}" if data.positive else ""
    return f"Sensitivity{of} at specificity {fraction(data.specificity)}"


def metric_meaning(data: ReportData, name: str) -> str:
    """What a metric says, in half a sentence."""
    if name == SENSITIVITY and data.positive:
        return f"share of the images of {data.positive} that are found"
    return METRICS[name].meaning if name in METRICS else ""


def metric_cards(data: ReportData) -> list[MetricCard]:
    """A card per metric, the main one first."""
    metrics = data.evaluation.metrics
    names = sorted(metrics, key=lambda name: name != data.main_metric)
    cards = []
    for name in names:
        metric = metrics[name]
        better = "; lower is better" if name in data.metrics.lower_is_better else ""
        meaning = metric_meaning(data, name)
        note = metric.reason or (meaning if better in meaning else f"{meaning}{better}")
        bar = None
        if name not in data.metrics.unbounded and math.isfinite(metric.value) and 0 <= metric.value <= 1:
            low = metric.low if metric.low is not None else metric.value
            high = metric.high if metric.high is not None else metric.value
            bar = (100 * low, 100 * metric.value, 100 * high)
        cards.append(
            MetricCard(
                metric_title(data, name),
                in_unit(metric.value) if name in data.metrics.unbounded else number(metric.value),
                interval(metric, in_unit if name in data.metrics.unbounded else number),
                note,
                name == data.main_metric,
                bar,
            )
        )
    return cards


def class_table(evaluation: Evaluation) -> Table:
    """Per-class metrics in class order; a dash where a class can't be measured."""
    columns = list(dict.fromkeys(key for row in evaluation.per_class.values() for key in row))
    rows = tuple(
        (
            name,
            *(
                count(row[key]) if key in COUNT_COLUMNS and key in row else number(row.get(key))
                for key in columns
            ),
        )
        for name, row in evaluation.per_class.items()
    )
    head = ("class", *(metric_label(key) for key in columns))
    return Table(head, rows, all_but_first(head))


def all_but_first(head: Sequence[str]) -> frozenset[int]:
    """Columns that hold numbers, where the first one names the row."""
    return frozenset(range(1, len(head)))


COUNT_COLUMNS = frozenset({"support", "objects", "images", "pixels"})


def class_note(data: ReportData) -> str:
    """What a dash stands for and what counts in the means, where the class table has such a row."""
    has_dash = any(DASH in row for row in class_table(data.evaluation).rows)
    rows = data.evaluation.per_class.values()
    has_empty = any(row[key] == 0 for row in rows for key in COUNT_COLUMNS if key in row)
    return data.traits.class_note if has_dash or has_empty else ""


def class_legend(data: ReportData) -> list[tuple[str, str]]:
    """Class names with the CSS colour that pictures draw them in; empty where nothing is drawn."""
    first = data.traits.first_drawn
    if first is None or not (data.worst or data.examples):
        return []
    drawn = [(name, class_colour(index)) for index, name in enumerate(data.classes)][first:]
    return [(name, f"rgb({red} {green} {blue})") for name, (red, green, blue) in drawn]


def layer_table(training: TrainingSummary) -> Table:
    """One row per layer group; a column per phase says whether it trains."""
    starts = training.phase_starts
    phases = ["state"] if len(starts) == 1 else [f"from epoch {start + 1}" for start in starts]
    head = ("layer group", "part", "parameters", *phases, "learning rate", "weight decay", "batch norm")
    rows = tuple(_layer_row(row) for row in training.layers)
    return Table(head, rows, frozenset({2, 3 + len(phases), 4 + len(phases)}))


def _layer_row(row: LayerRow) -> tuple[str, ...]:
    states = ("trained" if trains else "frozen" for trains in row.trains)
    norms = list(dict.fromkeys(row.batch_norm))
    decay = DASH if row.weight_decay is None else f"{row.weight_decay:.2g}"
    return (
        row.group,
        row.part,
        count(row.parameters),
        *states,
        rate(row.lr_low, row.lr_high),
        decay,
        ", then ".join(norms) or DASH,
    )


def parameter_share(layers: Sequence[LayerRow]) -> str:
    """`4.0 M of 11.2 M parameters train`, for the line above the table."""
    total = sum(row.parameters for row in layers)
    trained = sum(row.parameters for row in layers if any(row.trains))
    return f"{count_short(trained)} of {count_short(total)} parameters train."


def proof_table(training: TrainingSummary) -> Table:
    """Freeze proof: digests before and after each phase."""
    rows = tuple(
        (
            f"{proof.first_epoch + 1} to {proof.last_epoch + 1}",
            ", ".join(proof.groups) or ("running statistics of batch norm" if proof.tensors else DASH),
            count(proof.tensors),
            proof.before[:16] or DASH,
            proof.after[:16] or DASH,
            "unchanged" if proof.holds else "CHANGED",
        )
        for proof in training.proofs
    )
    return Table(("epochs", "frozen groups", "tensors", "before", "after", "verdict"), rows, frozenset({2}))


def preflight_table(found: Preflight | None) -> Table | None:
    """A row per check of the preflight; `None` where nobody looked."""
    if found is None:
        return None
    rows = tuple(
        (check.name, check.found, check.expected or DASH, VERDICTS[check.verdict]) for check in found.checks
    )
    return Table(("check", "found", "expected", "verdict"), rows, frozenset())


def data_table(data: DataSummary, classes: Sequence[str], traits: ReportTraits) -> Table:
    """Counts per class and split, and the images per split in the last row."""
    splits = [split for split in SPLITS if split in data.counts]
    rows = [
        (name, *(count(data.class_counts.get(split, {}).get(name, 0)) for split in splits))
        for name in classes
    ]
    rows.append(("all images", *(count(data.counts[split]) for split in splits)))
    head = (f"{traits.named} ({traits.counted})", *splits)
    return Table(head, tuple(rows), all_but_first(head))
