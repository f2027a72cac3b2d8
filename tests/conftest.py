"""Parts that tests of several folders share: small, real image folders and specs on them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from transferflow.data.listing import load_listing
from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.build import build_snapshot
from transferflow.spec import ExperimentSpec
from transferflow.spec.sections.data import Data
from transferflow.spec.sections.task import Task
from transferflow.spec.sections.truth import Truth

COCO = {"format": "coco", "annotations": "a.json"}
TINY_FCOS = {"kind": "fcos", "pyramid_channels": 64, "score_threshold": 0.0, "detections_per_image": 4}
UNTRAINED: dict[str, tuple[tuple[str, ...], dict[str, Any], dict[str, Any]]] = {
    "classification": (("cat", "dog"), {"kind": "linear"}, {"format": "image_folder"}),
    "detection": (("cat", "dog"), TINY_FCOS, COCO),
    "segmentation": (("background", "cat", "dog"), {"kind": "lite"}, COCO),
    "regression": (("age",), {"kind": "linear"}, {"format": "csv", "file": "a.csv"}),
}
"""Classes, head and data of a tiny model per task."""
COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


@pytest.fixture
def colour_folder(tmp_path: Path) -> Path:
    """Three classes of 20 noisy images of one colour each: easy to learn, cheap to train."""
    random = np.random.default_rng(0)
    root = tmp_path / "colours"
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(20):
            noise = random.integers(-40, 40, (36, 36, 3))
            image = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / name / f"{number:02}.png")
    return root


@pytest.fixture
def build_spec(colour_folder: Path) -> Callable[..., ExperimentSpec]:
    """Build a tiny classification spec; keyword arguments replace whole sections."""

    def build(**sections: Any) -> ExperimentSpec:
        document: dict[str, Any] = {
            "name": "colours",
            "task": {"kind": "classification"},
            "data": {
                "format": "image_folder",
                "root": str(colour_folder),
                "image_size": 32,
                "split": {"train": 0.6, "val": 0.2, "test": 0.2},
            },
            "backbone": {"source": "timm", "name": "test_resnet", "weights": "none"},
            "optimizer": {"lr": 3e-3},
            "augmentation": {"preset": "none"},
            "training": {"epochs": 2, "batch_size": 12, "workers": 0, "device": "cpu", "precision": "fp32"},
            "evaluation": {"bootstrap": 200},
        }
        return ExperimentSpec.model_validate(document | sections)

    return build


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle of each task, whose model was never trained."""
    from transferflow.stages.split_images import eval_transform_of
    from transferflow.tasks.build import build_parts
    from transferflow.tasks.bundle import save_bundle

    folders = {}
    for task, (classes, head, data) in UNTRAINED.items():
        document = {
            "name": "tiny",
            "task": {"kind": task},
            "data": {"root": ".", "image_size": 64, **data},
            "backbone": {"source": "package", "name": "tf_efficientnet_lite0"},
            "head": head,
        }
        spec = ExperimentSpec.model_validate(document)
        parts = build_parts(spec, classes, pretrained=False)
        folders[task] = tmp_path_factory.mktemp(task)
        transform = eval_transform_of(spec, parts.preprocessing)
        save_bundle(folders[task], spec, classes, transform, parts.model, min_score=0.0)
    return folders


@pytest.fixture
def data_section() -> Callable[..., Data]:
    """Build a `data` section from keywords."""
    return lambda **fields: TypeAdapter(Data).validate_python(fields)


@pytest.fixture
def truth_of() -> Callable[..., Truth]:
    """What a task learns from, by its kind and keywords."""
    return lambda kind="classification", **fields: (
        TypeAdapter(Task).validate_python({"kind": kind, **fields}).truth
    )


@pytest.fixture
def snapshot_of(data_section, truth_of, tmp_path_factory) -> Callable[..., DatasetSnapshot]:
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
        data, chosen = data_section(root=str(root), **fields), truth_of(task, **(options or {}))
        folder = tmp_path_factory.mktemp("snapshot")
        listing = load_listing(data, chosen)
        return build_snapshot(data, chosen, listing, folder, previous=previous, workers=workers)

    return run
