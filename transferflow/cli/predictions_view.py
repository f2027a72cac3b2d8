"""How predictions leave the command: a table, JSON, CSV, and pictures. What they say is `tasks.output`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from transferflow.text import printable, to_csv

if TYPE_CHECKING:
    from transferflow.evaluation.pictures import ImageArray
    from transferflow.tasks.base import ImagePredictions, OutputRow, PlacedOutput, TaskOutput


def json_document(placed: PlacedOutput | None, found: ImagePredictions, rows: Sequence[OutputRow]) -> object:
    """Rows as they are; boxes and masks as a COCO document, with a score on each box.

    Each image of the document names its overlay, and its mask where there is one.
    """
    if placed is None:
        return rows
    from transferflow.tasks.output.coco import coco_document

    document = coco_document(placed, found)
    masks = {row["image"]: {"mask": row["mask"]} for row in rows if "mask" in row}
    for image in document["images"]:
        path = image["file_name"]
        image |= {"overlay": str(_overlay_file(path, found.folder)), **masks.get(path, {})}
    return document


def csv_text(columns: Sequence[str], rows: Sequence[OutputRow]) -> str:
    """Rows as CSV; nested values become columns of their own.

    Args:
        columns: The header where there is no row.
        rows: From the task's output.
    """
    flat = [_flat(row) for row in rows]
    header = tuple(flat[0]) if flat else tuple(columns)
    return to_csv(header, ([row[name] for name in header] for row in flat))


def _flat(row: OutputRow) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            values |= {f"{name}.{key}": f"{part:.6f}" for key, part in value.items()}
        else:
            values[name] = "|".join(value) if isinstance(value, list) else value
    return values


def rows_table(output: TaskOutput, rows: Sequence[OutputRow], top: int) -> Table:
    """Rows for a person."""
    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("found", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("more", overflow="fold")
    for row in rows:
        table.add_row(printable(row["image"]), *map(printable, output.cells(row, top)))
    return table


def write_overlays(
    placed: PlacedOutput,
    found: ImagePredictions,
    rows: Sequence[OutputRow],
    show: Callable[[Path], ImageArray],
) -> int:
    """Draw boxes or masks over each image, as PNG files in their folder; returns how many."""
    from PIL import Image

    by_image: dict[str, list[OutputRow]] = {}
    for row in rows:
        by_image.setdefault(row["image"], []).append(row)
    for path, mine in by_image.items():
        drawn = placed.draw(show(Path(path)), mine, found.classes)
        Image.fromarray(drawn).save(_overlay_file(path, found.folder))
    return len(by_image)


def _overlay_file(image: str, folder: Path) -> Path:
    from transferflow.tasks.rendering.mask_files import picture_name

    return folder / picture_name(image, "overlay")
