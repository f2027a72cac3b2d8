"""Predictions as COCO-style JSON."""

from __future__ import annotations

from typing import Any

from transferflow.tasks.base import ImagePredictions, PlacedOutput


def coco_document(placed: PlacedOutput, found: ImagePredictions) -> dict[str, Any]:
    """Images, categories and annotations; ids count from 1, as in COCO's own files."""
    return {
        "images": [
            {"id": number, "file_name": image, "width": width, "height": height}
            for number, (image, (width, height)) in enumerate(found.sizes.items(), 1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(found.classes, 1)],
        "annotations": [
            {"id": number, **annotation} for number, annotation in enumerate(placed.annotations(found), 1)
        ],
    }
