"""Small images, and the way from a spec's sections to a listing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from transferflow.data.listing import load_listing
from transferflow.data.records import Listing


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
