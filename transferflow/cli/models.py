"""`transferflow backbones` and `transferflow weights`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from transferflow.cli.console import errors, output, printable
from transferflow.cli.options import Json, Override
from transferflow.spec.load import load_spec

if TYPE_CHECKING:
    from transferflow.models.catalog import BackboneInfo, BackboneShape
    from transferflow.models.downloads import Progress
    from transferflow.models.weight_files import WeightFile

MEASURED = 60
SHOWN_TAGS = 4

backbones = typer.Typer(help="The pretrained backbones that a spec can name.", no_args_is_help=True)
weights = typer.Typer(help="Pretrained weights as dependencies: fetch and lock them.", no_args_is_help=True)

Specs = Annotated[list[Path], typer.Argument(metavar="SPEC...", help="Specs, YAML files.")]


@backbones.command("list")
def list_command(
    source: Annotated[
        Literal["torchvision", "timm", "package"] | None, typer.Option(help="Only this source.")
    ] = None,
    search: Annotated[
        str, typer.Option("--search", "-s", help="Only names or weights with these words.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Show backbones: name, parameters, input size, mean and std, layer groups, weights, licence.

    Parameters and layer groups are shown for up to 60 models: narrow a longer list with --search.
    """
    from transferflow.models.catalog import list_backbones, measure_backbone, to_json

    found = list_backbones(source, search)
    shapes = [measure_backbone(info) if len(found) <= MEASURED else None for info in found]
    if as_json:
        rows = [to_json(info, shape) for info, shape in zip(found, shapes, strict=True)]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    output().print(_backbone_table(found, shapes), soft_wrap=False)
    if len(found) > MEASURED:
        output().print(f"\n{len(found)} models; narrow the list with --search to see sizes and layer groups")


@weights.command("fetch")
def fetch_command(specs: Specs, overrides: Override = None) -> None:
    """Download ahead what the specs need, so that later runs work offline; a cut download is resumed."""
    from transferflow.models.weights_lock import verified_weights

    for file in _files(specs, overrides or ()):
        with _progress_bar(f"{file.name} {file.tag}") as progress:
            path = verified_weights(file, progress=progress)
        output().print(f"{printable(file.address)}\n  {printable(str(path))}")


@weights.command("lock")
def lock_command(
    specs: Specs,
    overrides: Override = None,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="The lock file; default: weights.lock here.")
    ] = None,
) -> None:
    """Write weights.lock: source, address, tag, sha256, licence, mean and std of what the specs need.

    Runs in the same folder then accept just these files. Entries of other specs are kept.
    """
    from transferflow.models.weight_files import fetch_weights
    from transferflow.models.weights_lock import lock_path, lock_weights, read_lock, write_lock

    path = file or lock_path()
    entries = dict(read_lock(path))
    for needed in _files(specs, overrides or ()):
        with _progress_bar(f"{needed.name} {needed.tag}") as progress:
            entry = lock_weights(needed, fetch_weights(needed, progress=progress))
        entries[entry.address] = entry
        output().print(f"{entry.sha256[:12]}  {printable(entry.address)}")
    write_lock(path, list(entries.values()))
    output().print(f"wrote {printable(str(path))}: {len(entries)} files; commit it with the specs")


def _files(specs: Sequence[Path], overrides: Sequence[str]) -> Iterator[WeightFile]:
    """Each file that the specs need, once; all specs are read before anything is downloaded."""
    from transferflow.models.spec_weights import files_of

    found: dict[str, WeightFile] = {}
    for path in specs:
        needed = files_of(load_spec(path, overrides))
        if not needed:
            output().print(f"{printable(str(path))}: starts from random weights, nothing to fetch")
        found.update((file.address, file) for file in needed)
    yield from found.values()


@contextmanager
def _progress_bar(title: str) -> Iterator[Progress | None]:
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    if not sys.stderr.isatty():
        yield None
        return
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(TextColumn("{task.description}"), *columns, console=errors(), transient=True) as bar:
        task = bar.add_task(printable(title), total=None, visible=False)

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        yield show


def _backbone_table(found: Sequence[BackboneInfo], shapes: Sequence[BackboneShape | None]) -> Table:
    measured = any(shapes)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("source", "name", "params", "input", "mean / std", "weights", "licence", "layer groups"):
        if measured or title not in ("params", "layer groups"):
            justify: Literal["left", "right"] = "right" if title in ("params", "input") else "left"
            # Names are there to be copied: not cut, and the name in one piece.
            table.add_column(title, justify=justify, overflow="fold", no_wrap=title == "name")
    for info, shape in zip(found, shapes, strict=True):
        middle = [str(info.image_size), f"{_numbers(info.mean)} / {_numbers(info.std)}"]
        last = [_shortened(info.weights), info.licence or "unknown"]
        if measured:
            size = f"{shape.parameters / 1e6:.1f} M" if shape else "-"
            groups = _runs(shape.groups) if shape else "no pooled features"
            table.add_row(info.source, info.name, size, *middle, *last, groups)
        else:
            table.add_row(info.source, info.name, *middle, *last)
    return table


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3g}".removeprefix("0") for value in values)


def _shortened(tags: Sequence[str]) -> str:
    more = f" +{len(tags) - SHOWN_TAGS}" if len(tags) > SHOWN_TAGS else ""
    return ", ".join(tags[:SHOWN_TAGS]) + more if tags else "none"


def _runs(names: Sequence[str]) -> str:
    """Write `blocks.0, blocks.1, …, blocks.11` as `blocks.0..11`."""
    parts: list[tuple[str, int, int]] = []
    for name in names:
        stem = name.rstrip("0123456789")
        number = int(name[len(stem) :] or -1)
        if parts and number >= 0 and parts[-1][0] == stem and parts[-1][2] == number - 1:
            parts[-1] = (stem, parts[-1][1], number)
        else:
            parts.append((stem, number, number))
    return " ".join(
        stem if first < 0 else f"{stem}{first}" if first == last else f"{stem}{first}..{last}"
        for stem, first, last in parts
    )
