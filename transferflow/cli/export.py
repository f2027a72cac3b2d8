"""`transferflow export`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from transferflow.cli.console import output
from transferflow.cli.options import Home, Json, TrackingUri
from transferflow.text import printable

if TYPE_CHECKING:
    from transferflow.data.files.geometry import Pixels
    from transferflow.data.transforms.evaluation import EvalTransform
    from transferflow.inference.export import Exported

COMPARED = 16
"""Images on which an exported model is held against PyTorch."""


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="NAME (its champion), NAME@ALIAS, NAME/VERSION, or a bundle's folder."
        ),
    ],
    form: Annotated[
        Literal["onnx", "torch_export"], typer.Option("--format", help="What to write.")
    ] = "onnx",
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to; default: the spec's name."),
    ] = None,
    normalise: Annotated[
        bool,
        typer.Option("--normalise", help="Put the normalisation into the graph: it then takes uint8, NHWC."),
    ] = False,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--images",
            metavar="PATH",
            help="Images or folders to compare with PyTorch on; default: test images of the model.",
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", metavar="VALUE", min=0, help="Largest difference that is accepted."),
    ] = 1e-3,
    as_json: Json = False,
    home: Home = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Write a model as ONNX or with torch.export, and hold it against PyTorch on real images.

    A file that does not answer as PyTorch does is not written. Classes, preprocessing, inputs and outputs are
    described in its metadata, under `transferflow`.
    """
    from transferflow.inference.export import SUFFIXES, export_bundle
    from transferflow.inference.image_files import list_images
    from transferflow.stages.bundles import find_bundle
    from transferflow.stages.context import build_context
    from transferflow.stages.known_images import find_test_images
    from transferflow.tasks.bundle import load_bundle

    context = build_context(home, tracking_uri)
    folder = find_bundle(model, context)
    files = list_images(images, Path()) if images else find_test_images(model, context)
    bundle = load_bundle(folder)
    path = file or Path(bundle.spec.name + SUFFIXES[form])
    samples = _read(bundle.transform, files)
    done = export_bundle(bundle, samples, path, form, normalise=normalise, tolerance=tolerance)
    if as_json:
        sys.stdout.write(json.dumps(_plain(done), indent=2) + "\n")
    else:
        _tell(done)


def _read(transform: EvalTransform, files: list[Path]) -> list[Pixels]:
    """Images from all over the list, as the model sees them before the normalisation."""
    from transferflow.data.files.decode import decode_image
    from transferflow.evaluation.pictures import pick_evenly

    decoded = (
        decode_image(file, transform.channels, transform.intensity) for file in pick_evenly(files, COMPARED)
    )
    return [transform.fit(transform.resize_image(image)) for image in decoded]


def _tell(done: Exported) -> None:
    out = output()
    out.print(printable(f"{done.path} ({done.path.stat().st_size / 1e6:.1f} MB), takes {done.shape}"))
    for name, meaning in done.outputs:
        largest = f"largest difference to PyTorch on {done.images} images {done.differences[name]:.2g}"
        out.print(f"  {name}: {meaning}; {largest}")
    if not done.any_batch:
        out.print("  one image at a time: the number of boxes depends on what is in it")
    if done.boxes == 0:
        out.print(
            "  warning: PyTorch finds no box in these images: name some that show objects, with --images"
        )


def _plain(done: Exported) -> dict[str, object]:
    return {
        "path": str(done.path),
        "outputs": dict(done.outputs),
        "any_batch": done.any_batch,
        "input_shape": done.shape,
        "largest_difference": dict(done.differences),
        "images": done.images,
        "boxes": done.boxes,
    }
