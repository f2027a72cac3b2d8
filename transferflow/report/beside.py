"""Tables of what stands beside the whole: slices of the test images, and simpler models."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from transferflow.evaluation.results import MetricValue, PredictionSets, Slice
from transferflow.evaluation.slices import say_worst
from transferflow.report.contents import ReportData
from transferflow.report.sections import Table, all_but_first
from transferflow.report.wording import count, in_unit, interval, metric_label, number


@dataclass(frozen=True)
class SliceTable:
    """Metrics by slice.

    Attributes:
        by: What the images are sliced by.
        lead: A sentence on the worst slice.
        table: A row per slice.
    """

    by: str
    lead: str
    table: Table


def slice_tables(data: ReportData) -> list[SliceTable]:
    """A table for each way that the test images are sliced by; the metric that decides comes first."""
    main, lower = data.main_metric, data.metrics.lower_is_better
    names = sorted(data.evaluation.metrics, key=lambda name: name != main)
    tables = []
    for by, slices in data.evaluation.slices.items():
        shown = [name for name in names if slices and name in slices[0].metrics]
        head = ("slice", "images", *(metric_label(name) for name in shown[:1]), "95 % interval")
        head += tuple(metric_label(name) for name in shown[1:])
        rows = tuple(_slice_row(one, shown, data.metrics.unbounded) for one in slices)
        worst = say_worst(by, slices, main, lower_is_better=main in lower)
        tables.append(
            SliceTable(by, f"{worst[0].upper()}{worst[1:]}.", Table(head, rows, all_but_first(head)))
        )
    return tables


_BASELINES = {
    "majority": "the same for every image: how often the training images have each class, or their mean",
    "knn": "votes of the 20 nearest training images, in the features of the pretrained backbone",
    "linear_probe": "a linear layer on the features of the pretrained backbone, nothing else trained",
    "from_scratch": "the same recipe from random weights, every layer trained",
}
"""What each baseline is, but for the champion."""


def threshold_table(data: ReportData) -> Table | None:
    """The threshold of each class and what comes of it; `None` where the validation images chose none."""
    if not data.evaluation.thresholds:
        return None
    head = ("class", "threshold", "sensitivity", "95 % interval", "specificity", "95 % interval")
    rows = tuple(
        (
            one.name,
            number(one.threshold),
            number(one.sensitivity.value),
            interval(one.sensitivity),
            number(one.specificity.value),
            interval(one.specificity),
        )
        for one in data.evaluation.thresholds
    )
    return Table(head, rows, all_but_first(head))


def say_sets(sets: PredictionSets) -> str:
    """What prediction sets are worth, in two sentences."""
    between = interval(sets.coverage)
    return (
        f"Prediction sets should hold the right class in {sets.confidence:.1%} of the images; on the test "
        f"images they do in {sets.coverage.value:.1%}{f' ({between})' if between else ''}. They have "
        f"{sets.size.value:.2f} classes in the mean, and just one in {sets.single:.1%} of the images."
    )


def baseline_table(data: ReportData) -> Table | None:
    """This model and the baselines, the best in the deciding metric first; `None` where there are none."""
    baselines = {**data.evaluation.baselines, **data.champion}
    if not baselines:
        return None
    main, unbounded = data.main_metric, data.metrics.unbounded
    sign = 1 if main in data.metrics.lower_is_better else -1
    models = {"this model": data.evaluation.metrics, **baselines}
    values = {name: metrics[main].value for name, metrics in models.items()}
    order = sorted(values, key=lambda name: (math.isnan(values[name]), sign * values[name]))
    others = [
        name for name in data.evaluation.metrics if name != main and all(name in m for m in models.values())
    ]
    head = ("model", metric_label(main), "95 % interval", *map(metric_label, others))
    rows = tuple(
        (name.replace("_", " "), *_values(models[name], [main, *others], unbounded)) for name in order
    )
    return Table(head, rows, all_but_first(head))


def baseline_notes(data: ReportData) -> list[str]:
    """What each baseline of the table is."""
    return [
        f"{name.replace('_', ' ')}: {_BASELINES[name]}"
        for name in data.evaluation.baselines
        if name in _BASELINES
    ]


def _values(
    metrics: Mapping[str, MetricValue], names: Sequence[str], unbounded: Collection[str]
) -> tuple[str, ...]:
    """Values in order, the interval of the first after it."""
    shows = [in_unit if name in unbounded else number for name in names]
    values = [show(metrics[name].value) for show, name in zip(shows, names, strict=True)]
    return *values[:1], interval(metrics[names[0]], shows[0]), *values[1:]


def _slice_row(one: Slice, names: Sequence[str], unbounded: Collection[str]) -> tuple[str, ...]:
    name = one.name if one.judged else f"{one.name} (too few to judge)"
    return name, count(one.images), *_values(one.metrics, names, unbounded)
