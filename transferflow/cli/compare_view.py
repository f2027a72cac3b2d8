"""How a comparison of models is shown: the same tables in the terminal and on the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as TerminalTable

from transferflow.data.snapshot.diff import SnapshotDiff
from transferflow.evaluation.pictures import Panel, Picture
from transferflow.registry.gate import ChampionComparison, Compared
from transferflow.report.sections import Table
from transferflow.report.tables_page import PagePart
from transferflow.tasks.rendering.viewable import load_viewable
from transferflow.text import counted, printable

if TYPE_CHECKING:
    from transferflow.stages.compare import Disagreement, ModelComparison, Pair

_POSSESSIVE = "'s"
_LEAST_DIFFERENCE = 5e-5
"""What is less is 0 in four digits."""
_LONGEST_WORD = 12
"""Letters of a heading's word that are not broken, however narrow the terminal is."""


def comparison_facts(found: ModelComparison) -> dict[str, str]:
    """What stands under the title."""
    return {
        "test images": f"{found.images:,} of {found.name}",
        found.name: _cost(found.size_mb, found.latency_ms),
        **{pair.name: _cost(pair.size_mb, pair.latency_ms) for pair in found.pairs},
    }


def _cost(size_mb: float, latency_ms: float) -> str:
    return f"{size_mb:.1f} MB, {latency_ms:.1f} ms per image"


def compare_parts(found: ModelComparison) -> list[PagePart]:
    """The sections of the comparison, for each older model in turn."""
    return [part for pair in found.pairs for part in _parts(found, pair)]


def _parts(found: ModelComparison, pair: Pair) -> list[PagePart]:
    title = f"{found.name} against {pair.name}"
    parts = [PagePart(title, pair.note, _metric_table(found, pair))]
    classes = _class_table(pair)
    if classes.rows:
        parts.append(PagePart("Classes that changed", "On all test images.", classes))
    if pair.disagreements:
        lead = f"{counted(pair.disagreeing, 'image differs', 'images differ')} in {pair.metric}; these most."
        shown = tuple(map(_picture, pair.disagreements))
        parts.append(PagePart("Images that changed", lead, _image_table(pair), pictures=shown))
    parts.append(PagePart("Spec", lines=pair.spec or ("the same",)))
    parts.append(PagePart("Data", lines=_data_lines(pair.data) if pair.data else ("the same",)))
    return parts


def _metric_table(found: ModelComparison, pair: Pair) -> Table:
    head = ("metric", pair.name, found.name, "difference", "95 % interval", "p", "")
    rows = tuple(_metric_row(name, one, name in found.lower_is_better) for name, one in pair.metrics.items())
    return Table(head, rows, frozenset({1, 2, 3, 4, 5}))


def _metric_row(name: str, compared: Compared, lower_is_better: bool) -> tuple[str, ...]:
    if not isinstance(compared, ChampionComparison):
        return (name, "", "", "", "", "", compared.reason)
    p_value = compared.bootstrap_p_value if compared.p_value is None else compared.p_value
    is_clear = compared.low > 0 or compared.high < 0
    is_better = (compared.difference > 0) != lower_is_better
    said = ("better" if is_better else "worse") if is_clear else ""
    whose = f" ({compared.test.split()[0].removesuffix(_POSSESSIVE)})" if compared.test else ""
    return (
        name,
        f"{compared.champion_value:.4f}",
        f"{compared.champion_value + compared.difference:.4f}",
        f"{compared.difference:+.4f}",
        f"{compared.low:+.4f} to {compared.high:+.4f}",
        f"{p_value:.2g}{whose}",
        said,
    )


def _class_table(pair: Pair) -> Table:
    rows = []
    for label, metric, before, after in pair.per_class:
        if math.isfinite(before) and math.isfinite(after) and abs(after - before) >= _LEAST_DIFFERENCE:
            rows.append((label, metric, f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"))
    return Table(("class", "metric", "before", "after", "difference"), tuple(rows), frozenset({2, 3, 4}))


def _image_table(pair: Pair) -> Table:
    rows = tuple((one.image, one.before, one.after) for one in pair.disagreements)
    return Table(("image", "before", "after"), rows, frozenset())


def _picture(one: Disagreement) -> Picture:
    image = load_viewable(one.file, one.channels, one.intensity)
    return Picture((Panel(image),), one.image, (f"before: {one.before}", f"after: {one.after}"), one.image)


def _data_lines(diff: SnapshotDiff) -> tuple[str, ...]:
    counts = {
        "added": diff.added,
        "removed": diff.removed,
        "renamed": diff.renamed,
        "edited": diff.edited,
        "relabelled": diff.relabelled,
        "in another split": diff.moved,
    }
    found = [f"{counted(len(images), 'image')} {what}" for what, images in counts.items() if images]
    return (f"{counted(diff.kept, 'image')} in both", *found)


def without_pictures(parts: Sequence[PagePart]) -> list[PagePart]:
    """What a terminal shows."""
    return [replace(part, pictures=()) for part in parts]


def print_parts(console: Console, title: str, facts: Mapping[str, str], parts: Sequence[PagePart]) -> None:
    """Print the sections one after the other."""
    console.print(printable(title), style="bold")
    for name, value in facts.items():
        console.print(printable(f"  {name}: {value}"))
    for part in parts:
        console.print()
        console.print(printable(part.heading), style="bold")
        if part.lead:
            console.print(printable(part.lead))
        if part.table is not None:
            console.print(_terminal_table(part.table), soft_wrap=False)
        for line in part.lines:
            console.print(printable(f"  {line}"))


def _terminal_table(table: Table) -> TerminalTable:
    shown = TerminalTable()
    for number, name in enumerate(table.head):
        is_number = number in table.numeric
        # Where the terminal is narrow the cells are folded, and not the words of the head.
        least = min(_LONGEST_WORD, max(map(len, printable(name).split()), default=0))
        shown.add_column(
            printable(name), overflow="fold", justify="right" if is_number else "left", min_width=least
        )
    for row in table.rows:
        shown.add_row(*map(printable, row))
    return shown
