"""torchvision's published models as they are: a spec without training answers as their own code does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import decode_image
from torchvision.models import detection as tv

from transferflow.data.formats.coco import load_coco
from transferflow.inference.predict import predict_images
from transferflow.inference.sources import NamedImage
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.run import run_plan
from transferflow.tasks.bundle import load_bundle

ODD_SIZES = [(97, 131), (64, 64), (40, 320), (320, 40), (33, 210), (150, 151), (211, 77), (90, 89)]
FIT = {"shorter": 96, "longer": 160}
CATEGORIES = tv.FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1.meta["categories"]


def draw_images(folder: Path, count: int) -> list[Path]:
    """Images of odd sizes, panoramas of 1:8 and portraits of 8:1 among them; each third is gray."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    paths = []
    for number in range(count):
        height, width = ODD_SIZES[number % len(ODD_SIZES)]
        shape = (height + number, width + number, 3)
        small = random.integers(0, 256, (8, 8, 3), np.uint8)
        pixels = np.asarray(Image.fromarray(small).resize(shape[1::-1], Image.Resampling.BICUBIC))
        image = Image.fromarray(pixels)
        paths.append(folder / f"{number:02}.png")
        (image.convert("L") if number % 3 == 2 else image).save(paths[-1])
    return paths


def coco_set(root: Path, classes: list[str]) -> list[Path]:
    """A COCO data set of 24 images, 20 of them for the test."""
    paths = draw_images(root, 24)
    splits = {"train": paths[:2], "val": paths[2:4], "test": paths[4:]}
    for split, files in splits.items():
        document = {"images": [], "annotations": []}
        for number, path in enumerate(files):
            width, height = Image.open(path).size
            sizes = {"file_name": path.name, "width": width, "height": height}
            document["images"].append({"id": number} | sizes)
        # Each class has to be shown; the boxes are of no interest.
        for number in range(max(len(classes), len(files))):
            box = {"bbox": [4, 4, 20 + number % 9, 20], "area": 400, "iscrowd": 0}
            place = {"image_id": number % len(files), "category_id": number % len(classes)}
            document["annotations"].append({"id": number} | place | box)
        document["categories"] = [{"id": n, "name": name} for n, name in enumerate(classes)]
        (root / f"{split}.json").write_text(json.dumps(document))
    return splits["test"]


def theirs(seed: int = 0):
    """torchvision's model with random weights, and classes that it is sure of."""
    torch.manual_seed(seed)
    model = tv.fasterrcnn_resnet50_fpn_v2(
        weights=None, weights_backbone=None, min_size=FIT["shorter"], max_size=FIT["longer"]
    )
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.mul_(60)
        model.roi_heads.box_predictor.bbox_pred.weight.mul_(20)
        model.rpn.head.cls_logits.weight.mul_(20)
    return model.eval()


def spec_for(root: Path, weights: Path, **changes) -> ExperimentSpec:
    files = {split: f"{split}.json" for split in ("train", "val", "test")}
    document = {
        "name": "as-published",
        "task": {"kind": "detection"},
        "data": {"format": "coco", "root": str(root), "annotations": files, "fit": FIT},
        "backbone": {"source": "checkpoint", "name": "fasterrcnn_resnet50_fpn_v2", "weights": str(weights)},
        "training": {"epochs": 0, "batch_size": 4, "workers": 0, "device": "cpu"},
        "evaluation": {"bootstrap": 0},
    }
    return ExperimentSpec.model_validate(document | changes)
