"""Where a model looked when it was wrong: a second panel beside each of its worst errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.manifest import read_rows
from transferflow.data.snapshot.pixels import read_image
from transferflow.errors import EvaluationError
from transferflow.evaluation.attribution import Attribution, compute_attribution, tint_images
from transferflow.evaluation.pictures import Panel, Picture
from transferflow.models.classifier import ImageClassifier
from transferflow.models.layers import Preprocessing
from transferflow.stages.progress import logger
from transferflow.tasks.bundle import load_bundle

MOST = 12


def add_heat_maps(
    pictures: Sequence[Picture], model: Path, answered: Mapping[str, int], snapshot: DatasetSnapshot
) -> tuple[Picture, ...]:
    """Add a heat map of the answered class to the first pictures.

    Args:
        pictures: Worst errors, worst first.
        model: Folder of its bundle.
        answered: Place of the class that it answered for each image, by id.
        snapshot: What it was measured on.
    """
    chosen = [picture for picture in pictures if picture.image_id][:MOST]
    bundle = load_bundle(model)
    if not chosen or not isinstance(bundle.model, ImageClassifier):
        return tuple(pictures)
    transform = bundle.transform
    rows = {row.id: row for row in read_rows(snapshot, "test")}
    shown = [rows[picture.image_id] for picture in chosen]
    images = torch.stack(
        [transform(read_image(row, transform.channels, transform.intensity)) for row in shown]
    )
    classes = [answered[picture.image_id] for picture in chosen]
    try:
        found = compute_attribution(bundle.model, images, classes)
    except EvaluationError as error:
        logger.info("report: no heat maps: %s", error.problems[0].what)
        return tuple(pictures)
    views = tint_images(images, found.heat, Preprocessing(mean=transform.mean, std=transform.std))
    explained = [
        replace(picture, panels=(*picture.panels, Panel(view, _caption(found, has_heat=bool(heat.any())))))
        for picture, view, heat in zip(chosen, views, found.heat, strict=True)
    ]
    return (*explained, *pictures[len(explained) :])


def _caption(found: Attribution, *, has_heat: bool) -> str:
    """What the map shows, by which method and how coarsely."""
    rows, columns = found.grid
    how = f"{found.method}, {columns} x {rows} cells"
    return f"looked at ({how})" if has_heat else f"nothing in the picture spoke for it ({how})"
