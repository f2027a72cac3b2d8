"""`transferflow data show`: training images with their boxes and masks, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferflow.cli.console import output
from transferflow.cli.options import Home, Override, Quiet, SpecFile, naming_the_spec
from transferflow.text import counted, printable


def show(
    spec: SpecFile,
    overrides: Override = None,
    home: Home = None,
    file: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="HTML file to write.")] = Path(
        "samples.html"
    ),
    images: Annotated[
        int, typer.Option("--images", metavar="N", min=1, max=500, help="Images to draw.")
    ] = 12,
    epochs: Annotated[
        int, typer.Option("--epochs", metavar="N", min=1, max=20, help="Variations of each.")
    ] = 3,
    quiet: Quiet = False,
) -> None:
    """Write an HTML sheet of training images as augmentation makes them, with boxes and masks drawn."""
    from transferflow.data.snapshot.build import load_snapshot
    from transferflow.spec.load import load_spec
    from transferflow.stages.context import build_context
    from transferflow.stages.prepare import prepare
    from transferflow.stages.train.sample_pictures import train_transform_of, write_training_sheet

    loaded = load_spec(spec, overrides or ())
    with naming_the_spec(spec, overrides or ()):
        outcome = prepare(loaded, build_context(home))
    snapshot = load_snapshot(outcome.folder)
    transform = train_transform_of(loaded, snapshot.classes)
    drawn = write_training_sheet(file, loaded, snapshot, transform, images=images, epochs=epochs)
    output().print(f"wrote {printable(str(file))}: {counted(drawn, 'image')}", markup=False)
