"""`transferflow predict`."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferflow.cli.console import errors, output, printable
from transferflow.cli.options import Home, Json, TrackingUri, build_context

if TYPE_CHECKING:
    from transferflow.stages.predict import Predictions
    from transferflow.tasks.bundle import Bundle

Rows = list[dict[str, Any]]


def predict(
    model: Annotated[
        str, typer.Argument(help="NAME (its champion), NAME@ALIAS, NAME/VERSION, or a bundle's folder.")
    ],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to show per image.")] = 3,
    home: Home = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Predict on IMAGES with a registered model, through the same transform as in evaluation."""
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv can't both be given")
    from transferflow.stages.predict import list_images, open_model, predict_images

    files = list_images(images)
    bundle = open_model(model, build_context(home, tracking_uri))
    predictions = predict_images(bundle, files, Path("predictions"))
    rows = _rows(bundle, predictions)
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    elif as_csv:
        sys.stdout.write(_csv(rows))
    else:
        _print_table(rows, top)
    for failure in predictions.failures:
        errors().print(f"not read: {printable(failure.path)}: {printable(failure.reason)}")
    if predictions.failures:
        raise typer.Exit(1)


def _rows(bundle: Bundle, predictions: Predictions) -> Rows:
    multilabel = getattr(bundle.spec.task, "multilabel", False)
    rows: Rows = []
    for row in predictions.table.to_pylist():
        scores = dict(zip(bundle.classes, row["probabilities"], strict=True))
        best = max(scores, key=lambda name: scores[name])
        labels = [name for name, score in scores.items() if score >= 0.5] if multilabel else [best]
        rows.append({"image": row["id"], "labels": labels, "score": scores[best], "probabilities": scores})
    return rows


def _csv(rows: Rows) -> str:
    text = io.StringIO()
    classes = list(rows[0]["probabilities"]) if rows else []
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "labels", "score", *classes])
    for row in rows:
        values = [f"{row['probabilities'][name]:.6f}" for name in classes]
        writer.writerow([row["image"], "|".join(row["labels"]), f"{row['score']:.6f}", *values])
    return text.getvalue()


def _print_table(rows: Rows, top: int) -> None:
    from rich.table import Table

    table = Table()
    for column in ("image", "label", "score", "next"):
        table.add_column(column, overflow="fold", justify="right" if column == "score" else "left")
    for row in rows:
        ranked = sorted(row["probabilities"].items(), key=lambda pair: -pair[1])
        others = ", ".join(f"{printable(name)} {score:.3f}" for name, score in ranked[1:top])
        labels = ", ".join(map(printable, row["labels"])) or "(none)"
        table.add_row(printable(row["image"]), labels, f"{row['score']:.3f}", others)
    output().print(table, soft_wrap=False)
