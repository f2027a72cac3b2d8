"""`transferflow predict`."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferflow.allocator import keep_freed_memory
from transferflow.cli.console import errors, output
from transferflow.cli.options import Home, Quiet, TrackingUri
from transferflow.text import printable

if TYPE_CHECKING:
    from transferflow.data.transforms.evaluation import EvalTransform
    from transferflow.inference.predict import Predictions
    from transferflow.tasks.base import ImagePredictions, OutputRow, PlacedOutput
    from transferflow.tasks.bundle import Bundle


Asked = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="NAME (its champion), NAME@ALIAS, NAME/VERSION, or a bundle's folder."
    ),
]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Image files, or folders of them.")]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print JSON, for machines. Boxes and masks come as COCO; its category ids count from 1, "
        "whatever the training file had: match categories by name.",
    ),
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Top = Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many classes to show per image.")]
MinScore = Annotated[
    float | None,
    typer.Option(
        "--min-score",
        metavar="SCORE",
        min=0,
        max=1,
        help="Leave out boxes below this score; default: the score of the best F1 on validation images.",
    ),
]
Tile = Annotated[
    int | None,
    typer.Option("--tile", metavar="PIXELS", min=32, help="Longer side of tiles, for large images."),
]
OutputFolder = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="FOLDER", help="For masks and overlays; not used in classification."
    ),
]


def predict(
    model: Asked,
    images: Images,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    top: Top = 3,
    min_score: MinScore = None,
    tile: Tile = None,
    folder: OutputFolder = Path("predictions"),
    home: Home = None,
    tracking_uri: TrackingUri = None,
    quiet: Quiet = False,
) -> None:
    """Predict images with a registered model, through the very transform that it was evaluated with.

    Boxes are printed as a table, as COCO JSON or as CSV; masks are written as PNG; both are also drawn over
    the images.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv can't both be given")
    from transferflow.cli.predictions_view import csv_text, json_document, rows_table
    from transferflow.inference.image_files import create_output, list_images
    from transferflow.stages.bundles import open_model
    from transferflow.stages.context import build_context
    from transferflow.tasks.build import build_task

    files = list_images(images, folder)
    bundle = open_model(model, build_context(home, tracking_uri))
    answers = build_task(bundle.spec).output
    if answers.placed:
        create_output(folder)
    predictions = _predict(bundle, files, folder, tile, min_score)
    found = predictions.found
    rows = answers.rows(found)
    if as_json:
        sys.stdout.write(json.dumps(json_document(answers.placed, found, rows), indent=2) + "\n")
    elif as_csv:
        sys.stdout.write(csv_text(answers.columns, rows))
    elif rows:
        output().print(rows_table(answers, rows, top), soft_wrap=False)
    if (note := answers.note(predictions.min_score)) and not quiet:
        errors().print(note)
    if answers.placed and found.sizes:
        _draw(answers.placed, found, rows, bundle.transform)
    _report_failures(predictions)


def _predict(
    bundle: Bundle, files: list[Path], folder: Path, tile: int | None, min_score: float | None
) -> Predictions:
    from rich.progress import track

    from transferflow.inference.predict import predict_images
    from transferflow.inference.sources import NamedImage
    from transferflow.stages.progress import is_watched

    keep_freed_memory()
    console = errors()
    watched = track(files, "predicting", console=console, transient=True, disable=not is_watched())
    images = (NamedImage(str(file), file) for file in watched)
    return predict_images(bundle, images, folder, tile=tile, min_score=min_score)


def _draw(
    placed: PlacedOutput, found: ImagePredictions, rows: list[OutputRow], transform: EvalTransform
) -> None:
    from transferflow.cli.predictions_view import write_overlays
    from transferflow.tasks.rendering.viewable import load_viewable

    show = partial(load_viewable, channels=transform.channels, intensity=transform.intensity)
    count = write_overlays(placed, found, rows, show)
    errors().print(f"{count} overlays in {printable(str(found.folder))}")


def _report_failures(predictions: Predictions) -> None:
    for failure in predictions.failures:
        errors().print(f"not read: {printable(failure.path)}: {printable(failure.reason)}")
    if predictions.failures:
        raise typer.Exit(1)
