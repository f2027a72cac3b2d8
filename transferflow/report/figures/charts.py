"""How figures look, and how they become SVG that follows the page's colours and fonts."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator

from transferflow.tasks.rendering.drawing import COLOURS, class_colour

INK, MUTED, GRID, SURFACE = "#0a0b0c", "#6a6b6c", "#dadbdc", "#fafbfc"
SERIES = ("#2a6fdb", "#d9622b", "#1c9a6c", "#b0529f", "#c79a1b", "#5a6acf", "#8a5a3c", "#2b9fb3")
DASHES = ("-", "--", ":", "-.")
LABEL_LENGTH = 26
PIXELS_PER_INCH = 115
"""Largest scale of a figure on the page, so that text is of one size in wide and narrow figures."""

# Exact colours that the page replaces by its own variables, so that a figure follows light and dark.
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    SURFACE: "var(--surface)",
    **{color: f"var(--c{number})" for number, color in enumerate(SERIES, start=1)},
}
# Some versions of matplotlib type the keys as literals, others as text.
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Chart:
    """A finished figure.

    Attributes:
        title: Shown above it.
        svg: Inline SVG, free of scripts and outside references.
        caption: One sentence on how to read it.
        size: `half` stands beside another one on a wide screen; `full` takes the whole width.
        min_width: Least width in CSS pixels; the figure's box scrolls where the screen is narrower.
    """

    title: str
    svg: str
    caption: str = ""
    size: Literal["half", "full"] = "half"
    min_width: int = 0


@contextmanager
def styled_figure(width: float = 4.8, height: float = 3.3) -> Iterator[Figure]:
    """An empty figure in the report's style; sizes in inches."""
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


@contextmanager
def drawing(width: float = 4.8, height: float = 3.3) -> Iterator[tuple[Figure, Axes]]:
    """A figure with one pair of axes in the report's style.

    Args:
        width: Inches; 4.8 is what half of the page shows at its natural size.
        height: Inches.
    """
    with styled_figure(width, height) as figure:
        yield figure, figure.add_subplot()


def whole_numbers(most: int = 10) -> MaxNLocator:
    """Ticks at whole numbers alone, even where the axis holds just one; about `most` of them."""
    return MaxNLocator(most, integer=True, min_n_ticks=1)


def svg_of(figure: Figure, name: str) -> str:
    """Render as SVG for a place inside an HTML page.

    Args:
        figure: Drawn under `drawing`.
        name: Unique in the page: ids inside the SVG start with it.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # A glyph that the measuring font lacks is drawn by the browser's own fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, variable)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    view = re.search(r'viewBox="([^"]*)"', svg)
    widest = round(figure.get_figwidth() * PIXELS_PER_INCH)
    head = f'<svg viewBox="{view[1] if view else ""}" style="max-width:{widest}px">'
    svg = re.sub(r"<svg [^>]*>", head, svg, count=1)
    return _own_ids(svg, name)


def _own_ids(svg: str, name: str) -> str:
    used = set(re.findall(r"#([\w.-]+)(?=[\")])", svg))

    def rename(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    svg = re.sub(r' id="([^"]*)"', rename, svg)
    return re.sub(r"(url\(|href=\")#", rf"\1#{name}-", svg)


def short(text: str, length: int = LABEL_LENGTH) -> str:
    """Cut a label to a length that fits, without control characters."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean if len(clean) <= length else f"{clean[: length - 1]}…"


def class_line(number: int) -> dict[str, Any]:
    """How the curve of a class is drawn: in the colour that pictures have for it, whatever the figure.

    A thin line below keeps light colours visible on the page; dashes tell classes of one colour apart.

    Args:
        number: Place of the class among all classes.
    """
    red, green, blue = class_colour(number)
    below = [Stroke(linewidth=2.8, foreground=MUTED), Normal()]
    dashes = DASHES[number // len(COLOURS) % len(DASHES)]
    return {"color": f"#{red:02x}{green:02x}{blue:02x}", "linestyle": dashes, "path_effects": below}


def color(number: int) -> str:
    """Colour of a series, from 0; repeats when there are more series than colours."""
    return SERIES[number % len(SERIES)]
