"""Files inspected in shards: units of work that run here, in threads, or on any machine with the files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from transferflow.data.files.paths import split_mask
from transferflow.data.formats.mask_coding import store_coding
from transferflow.data.formats.masks import MaskFiles, inspect_mask
from transferflow.data.snapshot.image_facts import inspect_image
from transferflow.data.snapshot.manifest import IMAGE_FIELDS, MASK_FIELDS
from transferflow.spec.sections.intensity import Intensity
from transferflow.store import digest, write_atomic

SHARD_SIZE = 500
FACTS_VERSION = 4
"""Raised when inspection finds something else in the same files: former facts are not taken over then."""
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
        return {
            "facts": FACTS_VERSION,
            "channels": self.channels,
            "intensity": intensity,
            "group_tag": self.group_tag,
        }


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
    rows = np.full(len(names), -1) if before is None else _unchanged_rows(reader, names, before)
    fresh, known = np.flatnonzero(rows < 0), np.flatnonzero(rows >= 0)
    shards = [
        Shard(reader, tuple(names[i] for i in fresh[at : at + SHARD_SIZE]))
        for at in range(0, len(fresh), SHARD_SIZE)
    ]
    done, tables = len(known), [schema.empty_table()]
    progress(done)
    for table in inspect(shards):
        tables.append(table)
        done += len(table)
        progress(done)
    if before is not None:
        tables.append(_old_facts(before, rows[known], schema))
    order = np.empty(len(names), np.int64)
    order[np.concatenate([fresh, known])] = np.arange(len(names))
    return pa.concat_tables(tables).take(pa.array(order))


def _old_facts(before: pa.Table, rows: NDArray[np.int64], schema: pa.Schema) -> pa.Table:
    facts = before.select(schema.names[: -len(_PROBLEMS)]).take(pa.array(rows))
    for problem in _PROBLEMS:
        facts = facts.append_column(problem, pa.nulls(len(facts), problem.type))
    return facts.cast(schema)


def _unchanged_rows(
    reader: ImageReader | MaskFiles, names: Sequence[str], before: pa.Table
) -> NDArray[np.int64]:
    """Row in `before` of each name whose file has the same size and time; -1 where there is none."""
    name_column, size_column, time_column = _IMAGE_STAMP if isinstance(reader, ImageReader) else _MASK_STAMP
    index = pc.index_in(pa.array(names, pa.string()), value_set=before[name_column])
    rows: NDArray[np.int64] = index.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    sizes, times = before[size_column].to_numpy(), before[time_column].to_numpy()
    stamps: dict[str, tuple[int, int] | None] = {}
    for i in np.flatnonzero(rows >= 0).tolist():
        file = split_mask(names[i])[0] if isinstance(reader, MaskFiles) else names[i]
        stamp = stamps.get(file) or _stamp(f"{reader.root}/{file}")
        if isinstance(reader, MaskFiles):
            stamps[file] = stamp  # many images share one COCO file
        if stamp != (sizes[rows[i]], times[rows[i]]):
            rows[i] = -1
    return rows


_IMAGE_STAMP = ("path", "size", "mtime_ns")
_MASK_STAMP = ("mask", "mask_size", "mask_mtime_ns")


def _stamp(file: str) -> tuple[int, int] | None:
    try:
        status = os.stat(file)  # noqa: PTH116 - one call per file of large data sets
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def inspect_into(shard: Shard, folder: Path) -> Path:
    """Inspect a shard into a Parquet file, unless it is there already: a step to map over many machines.

    The file's name stands for the names, sizes and times of the shard's files, so that a run that was cut
    off goes on where it was.
    """
    reader = shard.reader
    view = reader.view if isinstance(reader, ImageReader) else [*reader.classes, store_coding(reader.coding)]
    stamps = [(name, _stamp(f"{reader.root}/{split_mask(name)[0]}")) for name in shard.names]
    file = folder / f"{digest([FACTS_VERSION, str(reader.root), view, stamps])}.parquet"
    if not file.exists():
        buffer = pa.BufferOutputStream()
        pq.write_table(inspect_shard(shard), buffer)
        write_atomic(file, buffer.getvalue().to_pybytes())
    return file


def read_inspected(files: Iterable[Path]) -> Iterable[pa.Table]:
    """Tables that `inspect_into` wrote, in order."""
    return (pq.read_table(file) for file in files)
