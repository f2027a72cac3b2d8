"""Small images, and the way from a spec's sections to findings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from transferflow.data.listing import load_listing
from transferflow.data.records import DatasetSnapshot, Listing
from transferflow.data.snapshot.build import build_snapshot
from transferflow.spec.sections.data import Data
from transferflow.spec.sections.task import Task


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
def data_section() -> Callable[..., Data]:
    """Build a `data` section from keywords."""
    return lambda **fields: TypeAdapter(Data).validate_python(fields)


@pytest.fixture
def task_section() -> Callable[..., Task]:
    """Build a `task` section from its kind and keywords."""
    return lambda kind="classification", **fields: TypeAdapter(Task).validate_python({"kind": kind, **fields})


@pytest.fixture
def list_data(data_section, task_section) -> Callable[..., Listing]:
    """List a folder in a format."""

    def run(root: Path, task: str = "classification", **fields: Any) -> Listing:
        options = {"multilabel": fields.pop("multilabel")} if "multilabel" in fields else {}
        return load_listing(data_section(root=str(root), **fields), task_section(task, **options))

    return run


@pytest.fixture
def snapshot_of(data_section, task_section, tmp_path_factory) -> Callable[..., DatasetSnapshot]:
    """Build a snapshot of a folder in a new folder."""

    def run(
        root: Path,
        task: str = "classification",
        *,
        previous: DatasetSnapshot | None = None,
        workers: int = 1,
        options: dict[str, Any] | None = None,
        **fields: Any,
    ) -> DatasetSnapshot:
        data, chosen = data_section(root=str(root), **fields), task_section(task, **(options or {}))
        folder = tmp_path_factory.mktemp("snapshot")
        listing = load_listing(data, chosen)
        return build_snapshot(data, chosen, listing, folder, previous=previous, workers=workers)

    return run
