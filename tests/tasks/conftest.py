"""Small data sets of drawn objects, and the way from a spec to predictions."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from transferflow.data.listing import load_listing
from transferflow.data.snapshot.build import build_snapshot
from transferflow.spec import ExperimentSpec
from transferflow.stages.split_images import build_split_images, eval_transform_of
from transferflow.tasks import build

SIZE = (64, 48)
"""Width and height of every image."""


@pytest.fixture
def load():
    """Build the snapshot of a spec's data."""

    def run(spec, folder):
        listing = load_listing(spec.data, spec.task.truth)
        folder.mkdir(parents=True, exist_ok=True)
        return build_snapshot(spec.data, spec.task.truth, listing, folder)

    return run


@pytest.fixture
def inputs_of(tmp_path):
    """Loader of a split, and what prediction needs."""

    def run(spec, snapshot, parts, split, masks):
        transform = eval_transform_of(spec, parts.preprocessing)
        images = build_split_images(spec, snapshot, split, transform, tmp_path / "cache")
        return images.inputs(snapshot.classes, masks)

    return run


@pytest.fixture
def build_parts():
    """Task and model of a spec."""

    def run(spec, snapshot):
        return build.build_task(spec), build.build_parts(spec, snapshot.classes, pretrained=True)

    return run


@pytest.fixture
def crowns(tmp_path, monkeypatch):
    """COCO data: squares and a disc; an image without boxes, a box of one pixel, a class not in test."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "crowns"
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        _write_coco(root, split, count)
    return _spec(
        task={"kind": "detection"},
        data={
            "format": "coco",
            "root": "crowns",
            "annotations": {s: f"{s}.json" for s in ("train", "val", "test")},
            "image_size": 64,
        },
        head={"kind": "fcos", "pyramid_channels": 64, "score_threshold": 0.0},
    )


def _write_coco(root, split, count):
    random = np.random.default_rng(len(split))
    images, annotations = [], []
    for number in range(count):
        width, height = SIZE
        pixels = random.integers(0, 60, (height, width, 3)).astype(np.uint8)
        boxes = [] if number == 1 else [(5 + 4 * number, 10, 20, 20, 1)]
        if number == 0:
            boxes.append((50, 40, 1, 1, 1))
        if split == "train" and number >= 2:
            boxes.append((38, 5, 15, 15, 2))
        for left, top, wide, high, label in boxes:
            pixels[top : top + high, left : left + wide] = (250, 60, 60) if label == 1 else (60, 250, 60)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": label,
                    "bbox": [left, top, wide, high],
                    "area": wide * high,
                    "iscrowd": 0,
                }
            )
        name = f"{split}/{number}.png"
        (root / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)
        images.append({"id": number + 1, "file_name": name, "width": width, "height": height})
    categories = [{"id": 1, "name": "red"}, {"id": 2, "name": "green"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / f"{split}.json").write_text(json.dumps(document))


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """16-bit gray images with masks; one pixel row of each mask is not annotated."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        for number in range(count):
            width, height = SIZE
            pixels = random.integers(100, 400, (height, width)).astype(np.uint16)
            mask = np.zeros((height, width), np.uint8)
            left = 4 + 6 * number
            mask[12:34, left : left + 24] = 1
            pixels[mask == 1] += 3000
            mask[0] = 255
            for kind, array in (("images", pixels), ("masks", mask)):
                folder = tmp_path / "cells" / kind / split
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(folder / f"{number}.png")
    return _spec(
        task={"kind": "segmentation"},
        data={
            "format": "mask_folder",
            "root": "cells",
            "classes": ["background", "cell"],
            "channels": 1,
            "image_size": 64,
            "intensity": {"kind": "percentile"},
        },
        head={"kind": "lite"},
    )


@pytest.fixture
def discs(tmp_path, monkeypatch):
    """Bright discs of different size; the number is their radius and 100."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32]
    (tmp_path / "discs").mkdir()
    lines = [("path", "size", "split")]
    for number in range(48):
        radius = random.uniform(3, 15)
        pixels = random.integers(0, 60, (32, 32, 3))
        pixels[(rows - 16) ** 2 + (columns - 16) ** 2 < radius**2] += 180
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "discs" / f"{number:02}.png")
        split = ("train", "train", "train", "test", "val", "train")[number % 6]
        lines.append((f"{number:02}.png", f"{100 + radius:.3f}", split))
    with (tmp_path / "discs" / "table.csv").open("w") as file:
        csv.writer(file).writerows(lines)
    return ExperimentSpec.model_validate(
        {
            "name": "discs",
            "task": {"kind": "regression"},
            "data": {
                "format": "csv",
                "root": "discs",
                "file": "table.csv",
                "columns": {"label": "size"},
                "image_size": 32,
            },
            "backbone": {"source": "timm", "name": "test_resnet", "weights": "none"},
            "training": {"batch_size": 16, "workers": 0, "device": "cpu", "precision": "fp32"},
            "evaluation": {"bootstrap": 50},
        }
    )


def _spec(**sections):
    common = {
        "name": "tiny",
        "backbone": {
            "source": "package",
            "name": "tf_efficientnet_lite0",
            "channel_adaptation": "sum",
        },
        "freeze": {"policy": "none"},
        "training": {"batch_size": 4, "workers": 0, "device": "cpu"},
        "evaluation": {"bootstrap": 50},
    }
    return ExperimentSpec.model_validate(common | sections)
