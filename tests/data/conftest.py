"""Small images, and the way from a spec's sections to a listing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from transferflow.data.listing import load_listing
from transferflow.data.records import DatasetSnapshot, Listing, Record
from transferflow.data.snapshot.manifest import build_table, read_rows, write_table
from transferflow.data.snapshot.rows import Rows


@pytest.fixture
def paint() -> Callable[..., Path]:
    """Write an image of noise; the seed says which."""

    def write(path: Path, seed: int = 0, size: tuple[int, int] = (24, 16), **save: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(path, **save)
        return path

    return write


@pytest.fixture
def list_data(data_section, truth_of) -> Callable[..., Listing]:
    """List a folder in a format."""

    def run(root: Path, task: str = "classification", **fields: Any) -> Listing:
        options = {"multilabel": fields.pop("multilabel")} if "multilabel" in fields else {}
        return load_listing(data_section(root=str(root), **fields), truth_of(task, **options))

    return run


@pytest.fixture
def rows_of(tmp_path) -> Callable[..., Rows]:
    """The rows of a manifest that holds these records, of images that nobody has seen."""

    def write(records: Sequence[Record], **facts: Sequence[object]) -> Rows:
        columns = {
            "sha256": pa.array([f"{place:064x}" for place in range(len(records))]),
            "width": pa.array([640] * len(records), pa.int32()),
            "height": pa.array([480] * len(records), pa.int32()),
            "orientation": pa.array([1] * len(records), pa.int8()),
            **{name: pa.array(values) for name, values in facts.items()},
        }
        splits = [record.split or "train" for record in records]
        write_table(build_table(list(records), splits, pa.table(columns)), tmp_path)
        return read_rows(
            DatasetSnapshot(tmp_path, tmp_path / "root", "", ("a", "b"), 3, {}, {}, 0, links=(tmp_path,))
        )

    return write
