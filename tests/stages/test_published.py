"""torchvision's published models as they are: a spec without training answers as their own code does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image
from torchvision.models import detection as tv

from transferflow.data.loading.order import aspect_groups
from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.transforms.training import build_train_transform
from transferflow.errors import PlanError, WeightsError
from transferflow.inference.export import export_bundle
from transferflow.inference.predict import predict_images
from transferflow.inference.sources import NamedImage
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.plan.compile import compile_plan
from transferflow.stages.run import run_plan
from transferflow.stages.split_images import eval_transform_of, split_loader
from transferflow.tasks.build import build_parts
from transferflow.tasks.bundle import load_bundle, save_bundle

ODD_SIZES = [(97, 131), (64, 64), (40, 320), (320, 40), (33, 210), (150, 151), (211, 77), (90, 89)]
FIT = {"shorter": 48, "longer": 80}
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
        model.roi_heads.box_predictor.cls_score.weight.mul_(8)
        model.rpn.head.bbox_pred.bias.view(-1, 4)[:, 2:].add_(1)  # large proposals, of which few stay
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


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """torchvision's model, and its weights in a file."""
    path = tmp_path_factory.mktemp("weights") / "detector.pth"
    model = theirs()
    torch.save(model.state_dict(), path)
    return model, path


def compare(model, paths, rows) -> int:
    """Hold rows against what torchvision's model and transform answer, one image at a time."""
    count = 0
    for path in paths:
        image = decode_image(str(path), ImageReadMode.RGB).float().div(255)
        with torch.inference_mode():
            found = model([image])[0]
        asked = [at for at, label in enumerate(found["labels"]) if CATEGORIES[label] != "N/A"]
        mine = [row for row in rows if row["id"].endswith(path.name)]
        assert [row["label"] for row in mine] == [CATEGORIES[found["labels"][at]] for at in asked]
        corners = [[row[name] for name in ("x_min", "y_min", "x_max", "y_max")] for row in mine]
        boxes = found["boxes"][asked].numpy()
        # in thousandths of a pixel: another layout, and folded batch norm, round otherwise
        np.testing.assert_allclose(np.array(corners).reshape(-1, 4), boxes, atol=1e-3, rtol=0)
        np.testing.assert_allclose([r["score"] for r in mine], found["scores"][asked], atol=1e-4, rtol=0)
        count += len(mine)
    return count


def test_a_detector_answers_as_torchvisions_own_model_and_transform_do(checkpoint, tmp_path):
    model, weights = checkpoint
    classes = [name for name in CATEGORIES[1:] if name != "N/A"]
    paths = coco_set(tmp_path / "data", classes)
    outcomes = run_plan(spec_for(tmp_path / "data", weights), RunContext(tmp_path / "home"))
    rows = pq.read_table(Path(outcomes[2].folder) / "predictions.parquet").to_pylist()
    assert compare(model, paths, rows) > 50
    bundle = load_bundle(Path(outcomes[1].folder))
    named = [NamedImage(path.name, path) for path in paths[:2]]
    found = predict_images(bundle, named, tmp_path / "masks", min_score=0.0).found
    assert compare(model, paths[:2], found.table.to_pylist()) > 0


def test_classes_by_another_name_are_refused_with_those_that_are_known(checkpoint, tmp_path):
    coco_set(tmp_path / "data", ["person", "aeroplane"])
    with pytest.raises(PlanError, match=r"COCO_V1 does not know each class") as caught:
        run_plan(spec_for(tmp_path / "data", checkpoint[1]), RunContext(tmp_path / "home"))
    (problem,) = caught.value.problems
    assert (problem.found, problem.where) == ("aeroplane", "training.epochs")
    assert "airplane" in problem.allowed
    assert "N/A" not in problem.allowed


def test_a_file_of_another_model_is_refused(tmp_path):
    torch.save({"backbone.body.conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "w.pth")
    spec = spec_for(tmp_path / "data", tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="holds other weights than those of FasterRCNN"):
        build_parts(spec, ("person",), pretrained=True)


def test_an_export_takes_images_of_any_size(tmp_path):
    fit = {"shorter": 64, "longer": 128}
    document = {
        "name": "tiny",
        "task": {"kind": "detection"},
        "data": {"format": "coco", "root": ".", "annotations": "a.json", "fit": fit},
        "backbone": {"source": "package", "name": "tf_efficientnet_lite0"},
        "head": {"kind": "fcos", "pyramid_channels": 64, "score_threshold": 0.0},
    }
    spec = ExperimentSpec.model_validate(document)
    parts = build_parts(spec, ("cat", "dog"), pretrained=False)
    transform = eval_transform_of(spec, parts.preprocessing)
    save_bundle(tmp_path, spec, ("cat", "dog"), transform, parts.model, min_score=0.0)
    bundle = load_bundle(tmp_path)
    assert bundle.transform == transform
    images = [np.asarray(Image.open(path).convert("RGB")) for path in draw_images(tmp_path / "images", 4)]
    fitted = [transform.fit(transform.resize_image(image)) for image in images]
    done = export_bundle(bundle, fitted, tmp_path / "d.onnx", "onnx")
    assert (done.images, done.any_batch) == (4, False)
    assert done.boxes > 0
    assert max(done.differences.values()) < 1e-3
    described = json.loads(
        onnxruntime.InferenceSession(tmp_path / "d.onnx").get_modelmeta().custom_metadata_map["transferflow"]
    )
    assert described["input"]["shape"] == "1 x 3 x height x width"
    assert "shorter side to 64 and the longer one to 128" in described["preprocessing"][-1]
    with pytest.raises(PlanError, match="rescaled after the normalisation"):
        export_bundle(bundle, fitted, tmp_path / "d.onnx", "onnx", normalise=True)


def test_a_network_for_one_size_is_refused_with_what_takes_any():
    document = {
        "name": "tiny",
        "task": {"kind": "detection"},
        "data": {"format": "coco", "root": ".", "annotations": "a.json", "fit": FIT},
        "backbone": {"source": "timm", "name": "vit_tiny_patch16_224", "weights": "none"},
        "head": {"kind": "fcos", "pyramid_channels": 64},
    }
    spec = ExperimentSpec.model_validate(document)
    with pytest.raises(PlanError, match="takes images of one size alone") as caught:
        build_parts(spec, ("cat",), pretrained=False, device="meta")
    assert caught.value.problems[0].where == "data.fit"


def test_training_sees_like_shapes_together_and_learns(checkpoint, tmp_path):
    """A batch of panoramas and portraits: boxes in pixels of each image, padding beyond it."""
    coco_set(tmp_path / "data", ["cat", "dog"])
    changes = {
        "backbone": {"source": "package", "name": "tf_efficientnet_lite0"},
        "head": {"kind": "fcos", "pyramid_channels": 64, "score_threshold": 0.0},
        "training": {"epochs": 1, "batch_size": 2, "workers": 0, "device": "cpu"},
        "augmentation": {"preset": "different_domain"},
    }
    spec = spec_for(tmp_path / "data", checkpoint[1], **changes)
    context = RunContext(tmp_path / "home")
    plan = compile_plan(spec, context)
    assert "images keep their shape" in plan.caches[0].reason
    outcomes = run_plan(spec, context)
    assert outcomes[1].summary["epochs"] == 1
    snapshot = load_snapshot(Path(outcomes[0].folder))
    transform = eval_transform_of(spec, build_parts(spec, ("cat", "dog"), pretrained=False).preprocessing)
    train = build_train_transform(spec.augmentation, transform, "boxes")
    loader = split_loader(spec, snapshot, "test", train, tmp_path / "cache")
    rows = {row.id: row for row in loader.dataset.rows}
    seen = 0
    for batch in loader.epoch(0):
        groups = {int(aspect_groups([(rows[i].height, rows[i].width)])[0]) for i in batch.ids}
        seen += len(groups) == 1
        for image, (height, width), target in zip(batch.images, batch.sizes, batch.targets, strict=True):
            assert max(height, width) <= FIT["longer"]
            assert not image[:, height:].any()
            assert not image[:, :, width:].any()
            assert (target["boxes"] <= torch.tensor([width, height] * 2)).all()
    assert seen >= 5
    shown = transform.show(np.zeros((120, 400, 3), np.uint8))  # what boxes are drawn over
    assert shown.shape[:2] == transform.seen((120, 400)) == (24, 80)
