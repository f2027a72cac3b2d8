"""How predictions look: rows for a table, JSON, CSV, and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from transferflow.text import printable, to_csv

if TYPE_CHECKING:
    from transferflow.evaluation.pictures import ImageArray
    from transferflow.inference.predict import Predictions
    from transferflow.tasks.bundle import Bundle

Rows = list[dict[str, Any]]
CORNERS = ("x_min", "y_min", "x_max", "y_max")
BOX_COLUMNS = ("label", "score", *CORNERS)


def without_weak(predictions: Predictions, min_score: float) -> Predictions:
    """Leave out boxes below a score."""
    if "score" not in predictions.table.column_names:
        return predictions
    import pyarrow.compute as pc

    return replace(predictions, table=predictions.table.filter(pc.field("score") >= min_score))


def result_rows(bundle: Bundle, predictions: Predictions, folder: Path) -> Rows:
    """One plain row per image (classification, segmentation) or per box (detection).

    An image without boxes has one row, whose values but the image are `None`.
    """
    found = predictions.table.to_pylist()
    match bundle.spec.task.kind:
        case "classification":
            return [_label_row(bundle, row) for row in found]
        case "detection":
            return list(_box_rows(found, predictions.sizes))
        case "segmentation":
            return [_mask_row(bundle, row, folder) for row in found]


def _box_rows(found: Rows, images: Iterable[str]) -> Iterator[dict[str, Any]]:
    by_image: dict[str, Rows] = {image: [] for image in images}
    for row in found:
        by_image[row["id"]].append(row)
    for image, mine in by_image.items():
        for row in mine or [dict.fromkeys(BOX_COLUMNS)]:
            yield {"image": image, **{name: row[name] for name in BOX_COLUMNS}}


def _label_row(bundle: Bundle, row: dict[str, Any]) -> dict[str, Any]:
    scores = dict(zip(bundle.classes, row["probabilities"], strict=True))
    best = max(scores, key=lambda name: scores[name])
    multilabel = getattr(bundle.spec.task, "multilabel", False)
    labels = [name for name, score in scores.items() if score >= 0.5] if multilabel else [best]
    return {"image": row["id"], "labels": labels, "score": scores[best], "probabilities": scores}


def _mask_row(bundle: Bundle, row: dict[str, Any], folder: Path) -> dict[str, Any]:
    from transferflow.tasks.rendering.mask_files import read_mask

    mask = read_mask(folder, row["mask"])
    shares = {name: float((mask == number).mean()) for number, name in enumerate(bundle.classes)}
    return {"image": row["id"], "mask": str(folder / row["mask"]), "shares": shares}


def json_document(bundle: Bundle, predictions: Predictions, rows: Rows, folder: Path) -> object:
    """Rows as they are; boxes and masks as a COCO document, with a score on each box.

    Each image of the document names its overlay, and its mask where there is one.
    """
    task = bundle.spec.task
    if task.kind == "classification":
        return rows
    from transferflow.tasks.rendering.coco_output import coco_document

    document = coco_document(task, predictions.table, predictions.sizes, bundle.classes, folder)
    masks = {row["image"]: {"mask": row["mask"]} for row in rows if "mask" in row}
    for image in document["images"]:
        path = image["file_name"]
        image |= {"overlay": str(_overlay_file(path, folder)), **masks.get(path, {})}
    return document


def csv_text(bundle: Bundle, rows: Rows) -> str:
    """Rows as CSV; nested values become columns of their own; the header stays where no box was found."""
    flat = [_flat(row) for row in rows]
    empty = ("image", *BOX_COLUMNS) if bundle.spec.task.kind == "detection" else ("image",)
    header = tuple(flat[0]) if flat else empty
    return to_csv(header, ([row[name] for name in header] for row in flat))


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            values |= {f"{name}.{key}": f"{part:.6f}" for key, part in value.items()}
        else:
            values[name] = "|".join(value) if isinstance(value, list) else value
    return values


def rows_table(rows: Rows, top: int) -> Table:
    """Rows for a person."""
    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("found", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("more", overflow="fold")
    for row in rows:
        table.add_row(printable(row["image"]), *map(printable, _cells(row, top)))
    return table


def _cells(row: dict[str, Any], top: int) -> tuple[str, str, str]:
    if "shares" in row:
        ranked = sorted(row["shares"].items(), key=lambda pair: -pair[1])[:top]
        return ", ".join(f"{name} {share:.1%}" for name, share in ranked), "", row["mask"]
    if "probabilities" in row:
        ranked = sorted(row["probabilities"].items(), key=lambda pair: -pair[1])[1:top]
        others = ", ".join(f"{name} {score:.3f}" for name, score in ranked)
        return ", ".join(row["labels"]) or "(none)", f"{row['score']:.3f}", others
    if row["label"] is None:
        return "(none)", "", ""
    return row["label"], f"{row['score']:.3f}", " ".join(f"{row[corner]:.0f}" for corner in CORNERS)


def write_overlays(bundle: Bundle, predictions: Predictions, rows: Rows, folder: Path) -> int:
    """Draw boxes or masks over each image, as PNG files in `folder`; returns how many."""
    from PIL import Image

    from transferflow.tasks.rendering.viewable import load_viewable

    by_image: dict[str, Rows] = {}
    for row in rows:
        by_image.setdefault(row["image"], []).append(row)
    for path, mine in by_image.items():
        image = load_viewable(Path(path), bundle.transform.channels, bundle.transform.intensity)
        if bundle.spec.task.kind == "detection":
            image = _with_boxes(image, mine, bundle.classes)
        else:
            image = _with_mask(image, Path(mine[0]["mask"]), bundle.classes)
        Image.fromarray(image).save(_overlay_file(path, folder))
    return len(by_image)


def _overlay_file(image: str, folder: Path) -> Path:
    from transferflow.tasks.rendering.mask_files import picture_name

    return folder / picture_name(image, "overlay")


def _with_boxes(image: ImageArray, rows: Rows, classes: tuple[str, ...]) -> ImageArray:
    from transferflow.data.records import Box
    from transferflow.tasks.rendering.drawing import add_legend, draw_boxes

    found = [row for row in rows if row["label"] is not None]
    boxes = [Box(**{name: row[name] for name in (*CORNERS, "label")}) for row in found]
    drawn = draw_boxes(image, boxes, classes, [row["score"] for row in found])
    shown = {classes.index(box.label) for box in boxes}
    return add_legend(drawn, classes, shown) if len(classes) > 1 else drawn


def _with_mask(image: ImageArray, file: Path, classes: tuple[str, ...]) -> ImageArray:
    import numpy as np

    from transferflow.tasks.rendering.drawing import add_legend, draw_mask
    from transferflow.tasks.rendering.mask_files import read_mask

    mask = read_mask(file.parent, file.name)
    drawn = draw_mask(image, mask)
    # The first class, the background, is not drawn.
    return add_legend(drawn, classes, set(np.unique(mask).tolist()) - {0}) if len(classes) > 2 else drawn
