"""`transferflow backbones` and `transferflow weights`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.padding import Padding
from rich.text import Text

from transferflow.cli.console import output
from transferflow.cli.help import examples
from transferflow.cli.options import Json, Override, Quiet, naming_the_spec
from transferflow.errors import WeightsError
from transferflow.spec.load import load_spec
from transferflow.stages.progress import download_bar, is_watched
from transferflow.text import counted, printable

if TYPE_CHECKING:
    from transferflow.models.catalog import BackboneInfo, BackboneShape, PublishedWeights
    from transferflow.models.weights.files import WeightFile

MEASURED = 60
SHOWN_TAGS = 4
UNSET_OFFLINE = "HF_HUB_OFFLINE forbids downloads: unset it and run the command again"

backbones = typer.Typer(help="The pretrained backbones that a spec can name.", no_args_is_help=True)
weights = typer.Typer(help="Pretrained weights as dependencies: fetch and lock them.", no_args_is_help=True)

Specs = Annotated[list[Path], typer.Argument(metavar="SPEC", help="Specs, YAML files.")]


@backbones.command(
    "list",
    epilog=examples("backbones list --search resnet50", "backbones list --source timm --search dinov2"),
)
def list_command(
    source: Annotated[
        Literal["torchvision", "timm", "package"] | None, typer.Option("--source", help="Only this source.")
    ] = None,
    search: Annotated[
        str, typer.Option("--search", "-s", metavar="WORDS", help="Only names or weights with these words.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Show backbones: parameters, layer groups, and each of their weights with size, mean / std and licence.

    Parameters and layer groups are shown for up to 60 models: narrow a longer list with --search.
    """
    from transferflow.models.catalog import list_backbones, measure_backbone, to_json

    found = list_backbones(source, search)
    measured = len(found) <= MEASURED
    shapes = [measure_backbone(info) if measured else None for info in found]
    if as_json:
        rows = [to_json(info, shape) for info, shape in zip(found, shapes, strict=True)]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    for info, shape in zip(found, shapes, strict=True):
        _print_indented(0, f"{info.name} ({info.source})  {_measures(shape) if measured else ''}".rstrip())
        _print_weights(info, search.lower().split())
    if not measured:
        output().print(
            f"\n{counted(len(found), 'model')}; narrow the list with --search to see sizes and layer groups"
        )


@weights.command("fetch", epilog=examples("weights fetch specs/*.yaml"))
def fetch_command(specs: Specs, overrides: Override = None, quiet: Quiet = False) -> None:
    """Download ahead what the specs need, so that later runs work offline; a cut download is resumed."""
    from transferflow.models.weights.lock import verified_weights

    def fetch(file: WeightFile) -> None:
        with download_bar(printable(f"{file.name} {file.tag}"), is_watched()) as progress:
            path = verified_weights(file, progress=progress)
        output().print(f"{printable(file.address)}\n  {printable(str(path))}")

    _for_each(_files(specs, overrides or ()), fetch)


@weights.command("lock", epilog=examples("weights lock specs/*.yaml"))
def lock_command(
    specs: Specs,
    overrides: Override = None,
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The lock file; default: weights.lock here."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write weights.lock: source, address, tag, sha256, licence, mean and std of what the specs need.

    Runs in the same folder then accept just these files. Entries of other specs are kept.
    """
    from transferflow.models.weights.files import fetch_weights
    from transferflow.models.weights.lock import lock_path, lock_weights, read_lock, write_lock

    path = file or lock_path()
    entries = dict(read_lock(path))

    def lock(needed: WeightFile) -> None:
        with download_bar(printable(f"{needed.name} {needed.tag}"), is_watched()) as progress:
            entry = lock_weights(needed, fetch_weights(needed, progress=progress))
        entries[entry.address] = entry
        output().print(f"{entry.sha256[:12]}  {printable(entry.address)}")

    _for_each(_files(specs, overrides or ()), lock)
    write_lock(path, list(entries.values()))
    output().print(f"wrote {printable(str(path))}: {counted(len(entries), 'file')}; commit it with the specs")


def _files(specs: Sequence[Path], overrides: Sequence[str]) -> Iterator[WeightFile]:
    """Each file that the specs need, once; all specs are read before anything is downloaded."""
    from transferflow.models.spec_weights import files_of

    found: dict[str, WeightFile] = {}
    for path in specs:
        with naming_the_spec(path, overrides):
            needed = files_of(load_spec(path, overrides))
        if not needed:
            output().print(f"{printable(str(path))}: starts from random weights, nothing to fetch")
        found.update((file.address, file) for file in needed)
    yield from found.values()


def _for_each(files: Iterable[WeightFile], act: Callable[[WeightFile], None]) -> None:
    """Do it for every file and report all failures; where nothing may be downloaded, say what forbids it."""
    from transferflow.models.weights.files import FETCH_HINT, is_offline
    from transferflow.models.weights.lock import for_each_file

    try:
        for_each_file(files, act)
    except WeightsError as error:
        if not is_offline():
            raise
        # The usual hint names the very command that is running.
        found = [replace(p, hint=p.hint.replace(FETCH_HINT, UNSET_OFFLINE)) for p in error.problems]
        raise WeightsError.from_problems(found) from error


def _measures(shape: BackboneShape | None) -> str:
    return f"{shape.parameters / 1e6:.1f} M  {_runs(shape.groups)}" if shape else "no pooled features"


def _print_weights(info: BackboneInfo, words: Sequence[str]) -> None:
    """Two lines for all weights that were trained alike: the values, and the names, none of them cut."""
    alike: dict[PublishedWeights, list[str]] = {}
    for entry in info.weights:
        alike.setdefault(replace(entry, name=""), []).append(entry.name)
    for values, names in alike.items():
        statistics = f"{_numbers(values.mean)} / {_numbers(values.std)}"
        _print_indented(2, f"{values.image_size} px  {statistics}  {values.licence or 'licence unknown'}")
        _print_indented(4, _shortened(names, words))
    if not info.weights:
        _print_indented(2, f"{info.image_size} px  no pretrained weights")


def _print_indented(indent: int, text: str) -> None:
    output().print(Padding(Text(text, overflow="fold"), (0, 0, 0, indent), expand=False), soft_wrap=False)


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3g}".removeprefix("0") for value in values)


def _shortened(names: Sequence[str], words: Sequence[str]) -> str:
    """The first names, those that were searched for before the others."""
    ordered = sorted(names, key=lambda name: not any(word in name.lower() for word in words))
    more = f" +{len(names) - SHOWN_TAGS}" if len(names) > SHOWN_TAGS else ""
    return ", ".join(ordered[:SHOWN_TAGS]) + more


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
