"""One small data set that all four tasks learn from, and a way to train on it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare
from transferflow.stages.train.stage import train
from transferflow.stages.train.validation_inputs import ValidationInputs

IMAGES, BATCH, SIDE = 24, 6, 64
CLASSES = ("red", "green")
COCO = {"format": "coco", "annotations": {split: f"{split}.json" for split in ("train", "val", "test")}}
TASKS = {
    "classification": ({"kind": "linear", "dropout": 0.3}, {"format": "csv", "file": "labels.csv"}),
    "regression": (
        {"kind": "linear"},
        {"format": "csv", "file": "labels.csv", "columns": {"label": "number"}},
    ),
    "detection": ({"kind": "fcos", "pyramid_channels": 64}, COCO),
    "segmentation": ({"kind": "lite"}, COCO),
}


@pytest.fixture(scope="session")
def squares(tmp_path_factory) -> Path:
    """Images of one coloured square each, with everything that the four tasks learn from."""
    root = tmp_path_factory.mktemp("squares")
    random = np.random.default_rng(0)
    table, coco = ["path,label,number,split"], {split: ([], []) for split in ("train", "val", "test")}
    for number in range(IMAGES + 12):
        kind, (x, y), size = number % 2, random.integers(2, 24, 2), int(random.integers(16, 36))
        pixels = random.integers(90, 130, (SIDE, SIDE, 3)).astype(np.uint8)
        pixels[y : y + size, x : x + size] = ((200, 40, 40), (40, 200, 40))[kind]
        Image.fromarray(pixels).save(root / f"{number:02}.png")
        split = "train" if number < IMAGES else ("val", "test")[number % 4 // 2]
        table.append(f"{number:02}.png,{CLASSES[kind]},{size},{split}")
        images, annotations = coco[split]
        images.append({"id": number, "file_name": f"{number:02}.png", "width": SIDE, "height": SIDE})
        right, bottom = min(SIDE, int(x) + size), min(SIDE, int(y) + size)
        corners = [int(x), int(y), right, int(y), right, bottom, int(x), bottom]
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": kind,
                "bbox": [int(x), int(y), right - int(x), bottom - int(y)],
                "segmentation": [corners],
                "area": (right - int(x)) * (bottom - int(y)),
                "iscrowd": 0,
            }
        )
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    (root / "labels.csv").write_text("\n".join(table))
    for split, (images, annotations) in coco.items():
        document = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{split}.json").write_text(json.dumps(document))
    return root


@pytest.fixture
def build_squares_spec(squares):
    """Build a spec of a task with everything frozen below the head; keyword arguments replace sections."""

    def build(task: str = "classification", **sections) -> ExperimentSpec:
        head, data = TASKS[task]
        training = {"epochs": 3, "batch_size": BATCH, "workers": 0, "device": "cpu", "precision": "fp32"}
        document = {
            "name": "squares",
            "task": {"kind": task},
            "data": {"root": str(squares), "image_size": SIDE, **data, **sections.pop("data", {})},
            "backbone": {"source": "package", "name": "tf_efficientnet_lite0"},
            "head": head,
            "freeze": {"policy": "backbone"},
            "augmentation": {"preset": "none"},
            "training": training | sections.pop("training", {}),
            **sections,
        }
        return ExperimentSpec.model_validate(document)

    return build


@pytest.fixture
def train_in(build_squares_spec):
    """Train in a home folder, and return the weights and the history."""

    def run(home: Path, task: str = "classification", **sections):
        spec, context = build_squares_spec(task, **sections), RunContext(home)
        folder = Path(train(spec, context, prepare(spec, context)).folder)
        history = json.loads((folder / "history.json").read_text())
        return load_file(folder / "weights.safetensors"), history

    return run


@pytest.fixture
def stopped_at_validation(monkeypatch):
    """A block in which a training is stopped, by ctrl-C, when it measures itself for the n-th time."""

    @contextmanager
    def stopped(number: int):
        inputs, calls = ValidationInputs.inputs, []

        def stop(self, *given):
            calls.append(given)
            if len(calls) == number:
                raise KeyboardInterrupt
            return inputs(self, *given)

        with monkeypatch.context() as patched:
            patched.setattr(ValidationInputs, "inputs", stop)
            yield

    return stopped
