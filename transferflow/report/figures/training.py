"""Losses, metrics and rates over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from transferflow.report.contents import TrainingSummary
from transferflow.report.figures.charts import (
    GRID,
    MUTED,
    Chart,
    color,
    drawing,
    short,
    svg_of,
    whole_numbers,
)
from transferflow.report.wording import metric_label

HIDDEN = frozenset(
    {"epoch", "seconds", "images_per_second", "step", "skipped_steps", "min_score", "temperature"}
)
RATE_LINES = 8


def training_charts(training: TrainingSummary, lower_is_better: frozenset[str] = frozenset()) -> list[Chart]:
    """Loss, metric and learning-rate curves; each only where the history has it.

    Args:
        training: Holds the history.
        lower_is_better: Metrics of which less is better; drawn apart from the others.
    """
    history = training.history
    if not history:
        return []
    names = list(dict.fromkeys(name for row in history for name in row))
    losses = [n for n in names if "loss" in n or n.startswith(("train_", "val_"))]
    rates = [n for n in names if n.startswith("lr") and n not in losses]
    metrics = [n for n in names if n not in losses and n not in rates and n not in HIDDEN]
    best = f"The dashed line is the epoch that was kept ({training.best_epoch + 1})."
    if len(training.phase_starts) > 1:
        best += " A gray band is where a new phase begins."
    falling = [n for n in metrics if n in lower_is_better]
    rising = [n for n in metrics if n not in lower_is_better]
    charts = [
        _curves("Loss", "loss-curve", history, losses, training, best),
        _curves("Validation metrics", "metric-curve", history, rising, training, best),
        _curves("Validation, lower is better", "error-curve", history, falling, training, best),
        _curves("Learning rates", "rate-curve", history, _spread(rates), training, _rates_caption(rates)),
    ]
    return [chart for chart in charts if chart is not None]


def _rates_caption(rates: Sequence[str]) -> str:
    if len(rates) > RATE_LINES:
        return f"{RATE_LINES} of {len(rates)} layer groups, from input to output; logarithmic."
    if len(rates) == 1:
        return "The head's rate after schedule and phase; logarithmic. The layer table has each group's."
    return "Rate of each layer group after schedule and phase; logarithmic."


def _spread(names: Sequence[str]) -> list[str]:
    if len(names) <= RATE_LINES:
        return list(names)
    return [names[i] for i in np.linspace(0, len(names) - 1, RATE_LINES).round().astype(int)]


def _curves(
    title: str,
    slug: str,
    history: Sequence[Mapping[str, float]],
    names: Sequence[str],
    training: TrainingSummary,
    caption: str,
) -> Chart | None:
    series = {n: np.array([row.get(n, np.nan) for row in history], dtype=float) for n in names}
    series = {n: values for n, values in series.items() if np.isfinite(values).any()}
    if not series:
        return None
    epochs = np.arange(1, len(history) + 1)
    with drawing() as (figure, axes):
        for number, (name, values) in enumerate(series.items()):
            label = short(_series_label(name), 26)
            axes.plot(epochs, values, color=color(number), marker="o", markersize=3, label=label)
        _mark_epochs(axes, training, len(history))
        if slug == "rate-curve" and any((values > 0).any() for values in series.values()):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(whole_numbers())
        _legend(axes, len(series))
        return Chart(title, svg_of(figure, slug), caption)


def _mark_epochs(axes: Axes, training: TrainingSummary, epochs: int) -> None:
    axes.axvline(training.best_epoch + 1, color=MUTED, linewidth=1, linestyle="--")
    for start in training.phase_starts:
        if 0 < start < epochs:
            axes.axvline(start + 0.5, color=GRID, linewidth=4)


def _legend(axes: Axes, lines: int) -> None:
    columns = 1 if lines == 1 else 2
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, handlelength=1.4)


def _series_label(name: str) -> str:
    for prefix in ("lr/", "lr_", "lr."):
        if name.startswith(prefix):
            return name[len(prefix) :]
    for prefix in ("val/", "val_", "train/", "train_"):
        if name.startswith(prefix):
            return f"{prefix[:-1]} {metric_label(name[len(prefix) :])}"
    return metric_label(name)
