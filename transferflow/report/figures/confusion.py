"""The confusion matrix, of images or of pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from transferflow.evaluation.curves import Curves
from transferflow.report.figures.charts import INK, MUTED, Chart, color, drawing, short, svg_of

NUMBERED_CELLS = 12
NAMED_TICKS = 40


def confusion_charts(curves: Curves, *, percent: bool = False) -> list[Chart]:
    """Confusion matrix of any size: numbers in the cells up to 12 classes, names up to 40.

    Args:
        curves: With images, or pixels, per true and predicted class; without a count, nothing is drawn.
        percent: Whether the cells hold the share of their row instead of the count.
    """
    confusion = curves.confusion
    if confusion is None or not any(map(any, confusion.counts)):
        return []
    # A few long names find room beside a small matrix; many would shrink a large one.
    names = [
        short(name, 26 if len(confusion.classes) <= NUMBERED_CELLS else 16) for name in confusion.classes
    ]
    counts = np.array(confusion.counts)
    size = len(names)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    inches = float(np.clip(1.5 + 0.34 * size, 3.4, 9.0))
    with drawing(inches + 0.6, inches) as (figure, axes):
        axes.grid(visible=False)
        axes.imshow(_cells(share), interpolation="none", aspect="equal")
        axes.spines[:].set_visible(False)
        if size <= NUMBERED_CELLS:
            _write_cells(axes, counts, share, percent)
        _name_axes(axes, names)
        svg = svg_of(figure, "confusion")
    caption = "Rows are the truth, columns the prediction; the darker, the larger the share of the row."
    if percent and size <= NUMBERED_CELLS:
        caption += " In percent of the row."
    if size > NAMED_TICKS:
        caption += " Class names stand in the table below, in this order."
    wide = size > NUMBERED_CELLS
    return [Chart("Confusion matrix", svg, caption, "full" if wide else "half", 720 if wide else 0)]


def _cells(share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # Transparent colour, so that an empty cell takes the page's own background in light and dark.
    cells = np.empty((*share.shape, 4))
    cells[..., :3] = to_rgb(color(1))
    diagonal = np.arange(len(share))
    cells[diagonal, diagonal, :3] = to_rgb(color(0))
    cells[..., 3] = np.where(share > 0, 0.12 + 0.8 * share, 0.0)
    return cells


def _write_cells(
    axes: Axes, counts: npt.NDArray[np.int64], share: npt.NDArray[np.float64], percent: bool
) -> None:
    for (row, column), images in np.ndenumerate(counts):
        if images:
            ink = "#ffffff" if share[row, column] > 0.5 else INK
            text = _percent(float(share[row, column])) if percent else f"{images}"
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8.5)
        else:
            axes.text(column, row, "·", ha="center", va="center", color=MUTED, fontsize=8.5)


def _percent(share: float) -> str:
    return "<0.1" if share < 0.001 else f"{100 * share:.1f}"


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
