"""The manifest of a snapshot: a Parquet file with a row per image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transferflow.data.files.appearance import HASH_BYTES
from transferflow.data.records import Box, DatasetSnapshot, Record, SplitName
from transferflow.data.snapshot.rows import COLUMNS, Rows
from transferflow.errors import DataError
from transferflow.store.mapped import MappedTable

MANIFEST = "manifest.parquet"

BOX = pa.struct(
    [
        ("x_min", pa.float64()),
        ("y_min", pa.float64()),
        ("x_max", pa.float64()),
        ("y_max", pa.float64()),
        ("label", pa.string()),
        ("crowd", pa.bool_()),
        ("area", pa.float64()),
    ]
)
RECORD_FIELDS = (
    pa.field("id", pa.string(), nullable=False),
    pa.field("path", pa.string(), nullable=False),
    pa.field("labels", pa.list_(pa.string())),
    pa.field("boxes", pa.list_(BOX)),
    pa.field("mask", pa.string()),
    pa.field("group", pa.string()),
    pa.field("split", pa.string(), nullable=False),
    pa.field("source", pa.string()),
)
IMAGE_FIELDS = (
    pa.field("sha256", pa.string()),
    pa.field("size", pa.int64()),
    pa.field("mtime_ns", pa.int64()),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("mode", pa.string()),
    pa.field("orientation", pa.int8()),
    pa.field("brightness", pa.float32()),
    pa.field("contrast", pa.int16()),
    pa.field("stored", pa.string()),
    pa.field("phash", pa.binary(HASH_BYTES)),
    pa.field("header_group", pa.string()),
    pa.field("note", pa.string()),
)
MASK_FIELDS = (
    pa.field("mask_sha256", pa.string()),
    pa.field("mask_size", pa.int64()),
    pa.field("mask_mtime_ns", pa.int64()),
    pa.field("mask_width", pa.int32()),
    pa.field("mask_height", pa.int32()),
    pa.field("mask_values", pa.list_(pa.int32())),
    pa.field("mask_counts", pa.list_(pa.int64())),
    pa.field("mask_colours", pa.list_(pa.int32())),
)
FACT_FIELDS = (*IMAGE_FIELDS, *MASK_FIELDS)
MANIFEST_SCHEMA = pa.schema([*RECORD_FIELDS, *FACT_FIELDS])


def build_table(records: list[Record], splits: list[SplitName], facts: pa.Table) -> pa.Table:
    """Manifest of records, their splits, and what inspection found, row by row."""
    columns: dict[str, Any] = {
        "id": pa.array([r.id for r in records], pa.string()),
        "path": pa.array([r.path for r in records], pa.string()),
        "labels": pa.array([r.labels for r in records], pa.list_(pa.string())),
        "boxes": pa.array([[_box_values(b) for b in r.boxes] for r in records], pa.list_(BOX)),
        "mask": pa.array([r.mask for r in records], pa.string()),
        "group": pa.array([r.group for r in records], pa.string()),
        "split": pa.array(splits, pa.string()),
        "source": pa.array([r.source for r in records], pa.string()),
    }
    for field in FACT_FIELDS:
        known = field.name in facts.column_names
        columns[field.name] = facts[field.name] if known else pa.nulls(len(records), field.type)
    return pa.table(columns, schema=MANIFEST_SCHEMA)


def _box_values(box: Box) -> dict[str, object]:
    return {
        "x_min": box.x_min,
        "y_min": box.y_min,
        "x_max": box.x_max,
        "y_max": box.y_max,
        "label": box.label,
        "crowd": box.crowd,
        "area": box.area,
    }


def write_table(table: pa.Table, folder: Path) -> None:
    """Write the manifest into a snapshot's folder."""
    pq.write_table(table, folder / MANIFEST, compression="zstd", row_group_size=100_000)


def read_table(snapshot: DatasetSnapshot, columns: list[str] | None = None) -> pa.Table:
    """Read the manifest, or some of its columns.

    Raises:
        DataError: If it is missing or damaged.
    """
    file = snapshot.path / MANIFEST
    try:
        return pq.read_table(file, columns=columns, memory_map=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            "the manifest can't be read",
            where=str(file),
            found=str(error),
            hint="run its spec again: it is made anew",
        ) from error


def read_rows(snapshot: DatasetSnapshot, split: SplitName | None = None) -> Rows:
    """Read the images of one split, or of all, in the order of their ids."""
    table = read_table(snapshot, list(COLUMNS))
    if split is not None:
        table = table.filter(pc.equal(table["split"], split))
    return Rows(MappedTable(table.combine_chunks()), snapshot.root, snapshot.links)


def read_groups(snapshot: DatasetSnapshot, split: SplitName) -> dict[str, str | None]:
    """Group (patient, scene or the like) of each image of a split, by id, in the order of the ids."""
    table = read_table(snapshot, ["id", "split", "group"])
    table = table.filter(pc.equal(table["split"], split))
    return dict(zip(table["id"].to_pylist(), table["group"].to_pylist(), strict=True))
