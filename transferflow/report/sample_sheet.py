"""A self-contained HTML sheet of training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from transferflow.evaluation.pictures import Picture
from transferflow.report.inline_images import inline_picture
from transferflow.report.page import render_page
from transferflow.store import write_atomic


def write_sample_sheet(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    caption: str,
    legend: Sequence[tuple[str, str]],
    pictures: Sequence[Picture],
) -> None:
    """Write one HTML file that needs nothing else: no network, no script, no other file.

    Args:
        path: Where to; replaced in one step if it exists.
        title: Heading.
        facts: Names and values under it.
        caption: A sentence under the facts.
        legend: Class name and CSS colour of each class that is drawn; empty where nothing is.
        pictures: The images.
    """
    values = {
        "title": title,
        "facts": facts,
        "caption": caption,
        "legend": legend,
        "pictures": [inline_picture(picture) for picture in pictures],
        "wide": any(len(picture.panels) > 1 for picture in pictures),
    }
    write_atomic(path, render_page("samples.html", values))
