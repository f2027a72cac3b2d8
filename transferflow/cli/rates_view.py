"""`plan --rates` as a figure: a line per layer group."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from transferflow.store import write_atomic
from transferflow.training.rate_plan import RateRow

SHOWN_FALL = 1000
"""How far below a group's largest rate the axis goes."""


def draw_rates(rows: Sequence[RateRow], path: Path) -> None:
    """Write an SVG with a line per group; a group has no line in the epochs in which it is frozen."""
    import matplotlib as mpl
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    groups = tuple(dict.fromkeys((row.group, row.block) for row in rows))
    lines = {key: [row for row in rows if (row.group, row.block) == key] for key in groups}
    trained = [key for key, line in lines.items() if not all(row.frozen for row in line)]
    # The thinner on top of the thicker: groups with the same rate are all seen.
    widths = iter(np.linspace(7, 1.5, max(2, len(trained))))
    if len(trained) > len(mpl.color_sequences["tab10"]):
        # Blocks are in order: a colour that goes with it tells more than ten colours over and over.
        axes.set_prop_cycle(color=mpl.colormaps["viridis"](np.linspace(0, 0.95, len(trained))))
    for key, line in lines.items():
        if key not in trained:
            axes.plot([], [], linestyle="none", label=f"{key[1]} (frozen)")
            continue
        steps = [point for row in line for point in (row.epoch, row.epoch + 1)]
        # A gap where it is frozen, also between two phases in which it trains.
        ends = [(math.nan, math.nan) if row.frozen else (row.lr_start, row.lr_end) for row in line]
        axes.plot(steps, [rate for end in ends for rate in end], linewidth=next(widths), label=key[1])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epochs done", ylabel="learning rate", yscale="log")
    # A cosine ends near 0, whose many decades would squeeze all others together.
    peaks = [max(max(row.lr_start, row.lr_end) for row in lines[key]) for key in trained]
    axes.set_ylim(bottom=min(peaks) / SHOWN_FALL)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    write_atomic(path, buffer.getvalue())
