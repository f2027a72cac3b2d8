"""torchvision's DeepLabV3 as it is, and segmentation on whole images of any size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torchvision.models import segmentation as tv
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.transforms.training import build_train_transform
from transferflow.inference.export import export_bundle
from transferflow.inference.predict import predict_images
from transferflow.inference.sources import NamedImage
from transferflow.spec import ExperimentSpec
from transferflow.stages.artifacts import MASKS, METRICS
from transferflow.stages.context import RunContext
from transferflow.stages.plan.compile import compile_plan
from transferflow.stages.run import run_plan
from transferflow.stages.split_images import eval_transform_of, split_loader
from transferflow.tasks.build import build_parts
from transferflow.tasks.bundle import load_bundle

BASE = 32
LABELS = tv.DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.meta["categories"]
CLASSES = ["background", *LABELS[1:]]
SIZES = [(32, 49), (32, 32), (65, 32), (32, 256), (256, 32), (35, 45), (16, 23), (75, 60)]
"""Those of the first five need no resizing, panoramas of 1:8 and portraits of 8:1 among them."""


def draw_set(root: Path, classes: int = 21) -> None:
    random = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for folder in ("images", "masks"):
            (root / folder / split).mkdir(parents=True)
        for number, (height, width) in enumerate(SIZES if split == "test" else SIZES[:4]):
            grid = random.permutation(24).reshape(4, 6) % classes
            mask = np.asarray(Image.fromarray(grid.astype(np.uint8)).resize((width, height), 0)).copy()
            mask[0] = 255
            noise = random.integers(0, 90, (height, width, 3))
            pixels = (noise + 7 * mask[..., None] % 160).astype(np.uint8)
            image = Image.fromarray(pixels)
            image = image.convert("L") if number == 1 else image
            image.save(root / "images" / split / f"{number}.png")
            Image.fromarray(mask).save(root / "masks" / split / f"{number}.png")


def spec_for(root: Path, fit: dict, **changes) -> ExperimentSpec:
    document = {
        "name": "whole",
        "task": {"kind": "segmentation"},
        "data": {"format": "mask_folder", "root": str(root), "classes": CLASSES, "fit": fit},
        "backbone": {"source": "package", "name": "tf_efficientnet_lite0"},
        "head": {"kind": "lite"},
        "training": {"epochs": 1, "batch_size": 4, "workers": 0, "device": "cpu"},
        "evaluation": {"bootstrap": 0},
    }
    return ExperimentSpec.model_validate(document | changes)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """torchvision's DeepLabV3 with random weights, a spec for it as it is, and what that spec measured."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    model = tv.deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=True).eval()
    torch.nn.init.normal_(model.classifier[4].weight, std=1.0)
    torch.save(model.state_dict(), folder / "w.pth")
    draw_set(folder / "data")
    spec = spec_for(
        folder / "data",
        {"shorter": BASE, "crop": 24},
        backbone={"source": "checkpoint", "name": "deeplabv3_resnet50", "weights": str(folder / "w.pth")},
        head={"kind": "deeplabv3"},
        training={"epochs": 0, "workers": 0, "device": "cpu"},
    )
    return folder, model, spec


def their_scores(model, image: Image.Image) -> torch.Tensor:
    """Logits as torchvision's own transform of these weights and its model give them."""
    preset = tv.DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.transforms(resize_size=BASE)
    with torch.inference_mode():
        return model(preset(image.convert("RGB"))[None])["out"]


def test_deeplab_answers_as_torchvisions_own_model_and_transform_do(published):
    folder, model, spec = published
    outcomes = run_plan(spec, RunContext(folder / "home"))
    found = Path(outcomes[2].folder)
    files = {Path(r["id"]).name: r["mask"] for r in pq.read_table(found / "predictions.parquet").to_pylist()}
    for number in range(len(SIZES)):
        image = Image.open(folder / "data" / "images" / "test" / f"{number}.png")
        scores = their_scores(model, image)
        whole = torch.nn.functional.interpolate(scores, image.size[::-1], mode="bilinear")
        mine = np.asarray(Image.open(found / MASKS / files[f"{number}.png"]))
        assert np.array_equal(mine, whole[0].argmax(0).numpy())


def test_deeplab_is_measured_as_torchvisions_reference_code_does(published):
    """references/segmentation: `get_transform` of train.py for published weights, utils.ConfusionMatrix.

    The images and their masks, by nearest neighbour, are brought to the size of the weights, and compared
    there; another spec of the same model compares in the size of the files, and gets other figures.
    """
    folder, model, spec = published
    matrix = torch.zeros(21, 21, dtype=torch.int64)
    for number in range(len(SIZES)):
        image = Image.open(folder / "data" / "images" / "test" / f"{number}.png")
        scores = their_scores(model, image)
        mask = Image.open(folder / "data" / "masks" / "test" / f"{number}.png")
        target = F.pil_to_tensor(F.resize(mask, scores.shape[-2:], InterpolationMode.NEAREST)).flatten()
        counts = target < 21
        pairs = 21 * target[counts].to(torch.int64) + scores.argmax(1).flatten()[counts]
        matrix += torch.bincount(pairs, minlength=21**2).reshape(21, 21)
    right, there, found = matrix.diag(), matrix.sum(1), matrix.sum(0)
    overlap = (right / (there + found - right)).nanmean()
    expected = {"miou": float(overlap), "pixel_accuracy": float(right.sum() / matrix.sum())}
    measured = {}
    for mask_size in ("resized", "original"):
        evaluation = spec.evaluation.model_copy(update={"mask_size": mask_size})
        outcomes = run_plan(spec.model_copy(update={"evaluation": evaluation}), RunContext(folder / "home"))
        page = (Path(outcomes[3].folder) / "report.html").read_text()
        assert ("compared in the size of data.fit" in page) == (mask_size == "resized")
        metrics = json.loads((Path(outcomes[2].folder) / METRICS).read_text())["metrics"]
        measured[mask_size] = {name: metrics[name]["value"] for name in expected}
    assert measured["resized"] == pytest.approx(expected, abs=1e-4)
    assert measured["original"] != pytest.approx(expected, abs=1e-4)
    assert int((found > 0).sum()) > 3


@pytest.mark.parametrize("tile", [None, 64])
def test_training_sees_windows_and_the_rest_is_whole(tile, tmp_path):
    draw_set(tmp_path / "data", classes=3)
    fit = {"crop": 40} | ({"tile": tile} if tile else {})
    data = {"format": "mask_folder", "root": str(tmp_path / "data"), "classes": list("abc"), "fit": fit}
    augmentation = {"preset": "similar_domain", "scale": [0.5, 2.0]}
    spec = spec_for(tmp_path / "data", fit, data=data, augmentation=augmentation)
    context = RunContext(tmp_path / "home")
    plan = compile_plan(spec, context)
    assert "images keep their shape" in plan.caches[0].reason
    outcomes = run_plan(spec, context)
    snapshot = load_snapshot(Path(outcomes[0].folder))
    bundle = load_bundle(Path(outcomes[1].folder))
    base = eval_transform_of(spec, build_parts(spec, "abc", pretrained=False).preprocessing)
    assert bundle.transform == base
    train = build_train_transform(spec.augmentation, base, "mask")
    for batch in split_loader(spec, snapshot, "train", train, tmp_path / "cache").epoch(0):
        assert batch.images.shape[1:] == (3, 40, 40)
        assert batch.targets.shape[1:] == (40, 40)
    whole = list(split_loader(spec, snapshot, "test", base, tmp_path / "cache").epoch(0))
    assert [tuple(b.images.shape[-2:]) for b in whole] == SIZES
    files = [tmp_path / "data" / "images" / "test" / f"{n}.png" for n in range(len(SIZES))]
    named = [NamedImage(file.name, file) for file in files]
    found = predict_images(bundle, named, tmp_path / "masks").found
    sides = [np.asarray(Image.open(tmp_path / "masks" / r["mask"])).shape for r in found.table.to_pylist()]
    assert sides == SIZES
    pixels = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    if tile is None:
        done = export_bundle(bundle, pixels[:2], tmp_path / "s.pt2", "torch_export")
        assert done.shape == "N x 3 x 40 x 40"
        program = torch.export.load(tmp_path / "s.pt2").module()
        with pytest.raises(Exception, match=r"size\(\)\[2\] == 40|shape\[2\]"):
            program(torch.zeros(1, 3, 48, 40))
    else:
        assert_onnx_takes_any_size(bundle, pixels, tmp_path / "s.onnx")


def assert_onnx_takes_any_size(bundle, pixels, path):
    done = export_bundle(bundle, pixels[:3], path, "onnx", normalise=True)
    assert done.shape == "N x height x width x 3"
    assert max(done.differences.values()) < 1e-4
    session = onnxruntime.InferenceSession(path)
    for image in pixels:
        batch = np.stack([image, image[::-1]])
        (found,) = session.run(None, {"images": batch})
        with torch.inference_mode():
            expected = bundle.model(bundle.transform.normalize(torch.from_numpy(batch)))["out"]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    described = json.loads(session.get_modelmeta().custom_metadata_map["transferflow"])
    assert "tiles of 64 pixels, where a side is longer" in described["preprocessing"][1]


def test_windows_are_drawn_anew_in_each_epoch_by_the_seed(tmp_path):
    draw_set(tmp_path / "data", classes=3)
    data = {"format": "mask_folder", "root": str(tmp_path / "data"), "classes": list("abc")}
    spec = spec_for(tmp_path, {}, data=data | {"fit": {"crop": 48}}, augmentation={"preset": "none"})
    base = eval_transform_of(spec, build_parts(spec, "abc", pretrained=False).preprocessing)
    transform = build_train_transform(spec.augmentation, base, "mask")
    assert transform.is_varied
    photo = np.random.default_rng(0).integers(0, 256, (90, 200, 3), np.uint8)
    first, again, other = (transform(photo, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    small = transform(photo[:20, :30], 1)  # smaller than the window: padded with the mean colour
    assert torch.equal(small[:, :20, :30], base(photo[:20, :30]))
    assert small[:, 20:].abs().max() < 0.01
