"""Predictions as COCO-style JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from transferflow.spec.sections.task import DetectionTask, SegmentationTask
from transferflow.tasks.rendering.mask_files import encode_runs, read_mask


def coco_document(
    task: DetectionTask | SegmentationTask,
    table: pa.Table,
    sizes: Mapping[str, tuple[int, int]],
    classes: Sequence[str],
    folder: Path,
) -> dict[str, Any]:
    """Images, categories and annotations; ids count from 1, as in COCO's own files.

    Args:
        task: Boxes, or one mask (uncompressed RLE) per image and class.
        table: As the task's `predict` returns it.
        sizes: Width and height of every image that was looked at, by id.
        classes: Class names in order.
        folder: Where the masks lie.
    """
    numbers = {image: number for number, image in enumerate(sizes, 1)}
    if isinstance(task, DetectionTask):
        found = _boxes(table, numbers, classes)
    else:
        found = _masks(table, numbers, classes, folder)
    return {
        "images": [
            {"id": numbers[image], "file_name": image, "width": width, "height": height}
            for image, (width, height) in sizes.items()
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes, 1)],
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(found, 1)],
    }


def _boxes(table: pa.Table, numbers: Mapping[str, int], classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    for row in table.to_pylist():
        width, height = row["x_max"] - row["x_min"], row["y_max"] - row["y_min"]
        yield {
            "image_id": numbers[row["id"]],
            "category_id": classes.index(row["label"]) + 1,
            "bbox": [round(row["x_min"], 2), round(row["y_min"], 2), round(width, 2), round(height, 2)],
            "area": round(width * height, 2),
            "score": round(row["score"], 5),
            "iscrowd": 0,
        }


def _masks(
    table: pa.Table, numbers: Mapping[str, int], classes: Sequence[str], folder: Path
) -> Iterator[dict[str, Any]]:
    for row in table.to_pylist():
        mask = read_mask(folder, row["mask"])
        for number in range(len(classes)):
            chosen = mask == number
            if not chosen.any():
                continue
            rows, columns = chosen.any(1).nonzero()[0], chosen.any(0).nonzero()[0]
            yield {
                "image_id": numbers[row["id"]],
                "category_id": number + 1,
                "segmentation": encode_runs(chosen),
                "area": int(chosen.sum()),
                "bbox": [
                    int(columns[0]),
                    int(rows[0]),
                    int(columns[-1] - columns[0] + 1),
                    int(rows[-1] - rows[0] + 1),
                ],
                "iscrowd": 0,
            }
