"""Files inspected in shards: units of work that run here, in threads, or on any machine with the files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import pyarrow as pa

from transferflow.data.inspection import inspect_image
from transferflow.data.manifest import IMAGE_FIELDS, MASK_FIELDS
from transferflow.data.mask_files import MaskFiles, inspect_mask
from transferflow.data.paths import split_mask
from transferflow.spec.data import Intensity

SHARD_SIZE = 500
_PROBLEMS = (pa.field("problem_kind", pa.string()), pa.field("problem", pa.string()))


@dataclass(frozen=True)
class ImageReader:
    """How images are looked at.

    Attributes:
        root: Folder of the data set.
        channels: Channels that the model sees.
        intensity: How values wider than 8 bits become 0..255.
        group_tag: DICOM element that holds the group, such as PatientID.
    """

    root: Path
    channels: int
    intensity: Intensity
    group_tag: str | None = None

    @property
    def view(self) -> dict[str, Any]:
        """What facts depend on besides the files, as JSON data."""
        intensity = self.intensity.model_dump(mode="json")
        return {"channels": self.channels, "intensity": intensity, "group_tag": self.group_tag}


@dataclass(frozen=True)
class Shard:
    """Some files of one kind, and how to read them."""

    reader: ImageReader | MaskFiles
    names: tuple[str, ...]


Inspect = Callable[[Sequence[Shard]], Iterable[pa.Table]]
"""Runs `inspect_shard` over shards, in order, wherever it likes."""


def facts_schema(reader: ImageReader | MaskFiles) -> pa.Schema:
    """Columns that the inspection of a shard gives."""
    fields = IMAGE_FIELDS if isinstance(reader, ImageReader) else MASK_FIELDS
    return pa.schema([*fields, *_PROBLEMS])


def inspect_shard(shard: Shard) -> pa.Table:
    """Open the files of a shard; a row per name, in order, with the columns of `facts_schema`."""
    facts: Sequence[object]
    match shard.reader:
        case ImageReader(root, channels, intensity, tag):
            facts = [inspect_image(root / name, channels, intensity, tag) for name in shard.names]
        case MaskFiles() as reader:
            facts = [inspect_mask(reader, name) for name in shard.names]
        case _:
            assert_never(shard.reader)
    schema = facts_schema(shard.reader)
    return pa.table({name: [getattr(fact, name) for fact in facts] for name in schema.names}, schema=schema)


def inspect_here(workers: int) -> Inspect:
    """Inspect in this process, in as many threads; hashing and decoding release the interpreter lock."""

    def run(shards: Sequence[Shard]) -> Iterable[pa.Table]:
        if workers <= 1:
            yield from map(inspect_shard, shards)
            return
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(inspect_shard, shards)

    return run


def collect_facts(
    reader: ImageReader | MaskFiles,
    names: Sequence[str],
    before: pa.Table | None,
    inspect: Inspect,
    progress: Callable[[int], None],
) -> pa.Table:
    """Facts of all files in order; files of the same name, size and time come from `before`.

    Args:
        reader: How to read them.
        names: Paths below the root, or COCO masks.
        before: A former manifest that was made with the same reader.
        inspect: Runs the shards.
        progress: Called with the number of files done.
    """
    schema = facts_schema(reader)
    old_rows = _unchanged(reader, names, before) if before is not None else {}
    fresh = [i for i in range(len(names)) if i not in old_rows]
    shards = [
        Shard(reader, tuple(names[i] for i in fresh[at : at + SHARD_SIZE]))
        for at in range(0, len(fresh), SHARD_SIZE)
    ]
    done, tables = len(old_rows), [schema.empty_table()]
    progress(done)
    for table in inspect(shards):
        tables.append(table)
        done += len(table)
        progress(done)
    place = {i: n for n, i in enumerate(fresh)}
    if before is not None and old_rows:
        reused = before.select(schema.names[: -len(_PROBLEMS)]).take(pa.array(list(old_rows.values())))
        for problem in _PROBLEMS:
            reused = reused.append_column(problem, pa.nulls(len(reused), problem.type))
        tables.append(reused.cast(schema))
        place |= {i: len(fresh) + n for n, i in enumerate(old_rows)}
    return pa.concat_tables(tables).take(pa.array([place[i] for i in range(len(names))], pa.int64()))


def _unchanged(reader: ImageReader | MaskFiles, names: Sequence[str], before: pa.Table) -> dict[int, int]:
    """Row in `before` of each name whose file has the same size and time."""
    columns = ("path", "size", "mtime_ns") if isinstance(reader, ImageReader) else _MASK_STAMP
    known, sizes, times = (before[column].to_pylist() for column in columns)
    rows = {name: row for row, name in enumerate(known) if name is not None}
    found: dict[int, int] = {}
    stamps: dict[str, tuple[int, int] | None] = {}
    for i, name in enumerate(names):
        row = rows.get(name)
        if row is None:
            continue
        file = split_mask(name)[0]
        if file not in stamps:
            stamps[file] = _stamp(reader.root / file)
        if stamps[file] == (sizes[row], times[row]):
            found[i] = row
    return found


_MASK_STAMP = ("mask", "mask_size", "mask_mtime_ns")


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(file)  # noqa: PTH116 - one call per file of large data sets
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
