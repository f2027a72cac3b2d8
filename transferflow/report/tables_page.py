"""A self-contained HTML page of tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transferflow.evaluation.pictures import Picture
from transferflow.report.inline_images import inline_picture
from transferflow.report.page import render_page
from transferflow.report.sections import Table
from transferflow.store import write_atomic


@dataclass(frozen=True)
class PagePart:
    """One section of the page.

    Attributes:
        heading: Its title.
        lead: A sentence under it.
        table: A table; `None` where there is none.
        lines: A list of sentences.
        pictures: Images.
    """

    heading: str
    lead: str = ""
    table: Table | None = None
    lines: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()


def write_tables_page(
    path: Path, title: str, over: str, facts: Mapping[str, str], parts: Sequence[PagePart]
) -> None:
    """Write one HTML file that needs nothing else: no network, no script, no other file.

    Args:
        path: Where to; replaced in one step if it exists.
        title: Heading.
        over: What kind of page it is, in a word.
        facts: Names and values under the heading.
        parts: The sections, in order.
    """
    shown = [
        {
            "heading": part.heading,
            "lead": part.lead,
            "table": part.table,
            "lines": part.lines,
            "pictures": [inline_picture(picture) for picture in part.pictures],
        }
        for part in parts
    ]
    write_atomic(
        path, render_page("tables.html", {"title": title, "over": over, "facts": facts, "parts": shown})
    )
