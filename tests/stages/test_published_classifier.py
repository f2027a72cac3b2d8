"""ImageNet's classifiers as they are: a spec without training answers as torchvision and timm do."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
import torchvision.models as tv
from PIL import Image

from transferflow.errors import PlanError
from transferflow.models.backbones.from_package import convert_lite0, package_file
from transferflow.models.weights.files import fetch_weights
from transferflow.models.weights.state_files import read_state
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.run import run_plan
from transferflow.tasks.build import build_parts

CLASSES = {"Egyptian_cat": 285, "n01440764": 0, "spider web": 815}
"""Named as folders are: a name with a gap, a WordNet id, and a name as it is; with ImageNet's number."""
SIZES = [(300, 411), (64, 512), (512, 64), (231, 230)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder per class and split; images of odd sizes, one of them gray."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for split, count in {"train": 1, "val": 1, "test": 4}.items():
        for name in CLASSES:
            folder = root / split / name
            folder.mkdir(parents=True)
            for number, (height, width) in enumerate(SIZES[:count]):
                small = Image.fromarray(random.integers(0, 256, (9, 9, 3), np.uint8))
                image = small.resize((width, height), Image.Resampling.BICUBIC)
                (image.convert("L") if number == 3 else image).save(folder / f"{number}.png")
    return root


ALL_FOR_TEST = {"train": 0.0, "val": 0.0, "test": 1.0}


def as_it_is(root: Path, backbone: dict, **data) -> ExperimentSpec:
    document = {
        "name": "as-published",
        "task": {"kind": "classification"},
        "data": {"format": "image_folder", "root": str(root), "near_duplicates": "ignore"} | data,
        "backbone": backbone,
        "training": {"epochs": 0, "batch_size": 4, "workers": 0, "device": "cpu"},
        "evaluation": {"bootstrap": 0},
    }
    return ExperimentSpec.model_validate(document)


def compare(spec: ExperimentSpec, home: Path, answer) -> list:
    """Hold the logits of a run against `answer`, a function from a Pillow image to 1000 logits."""
    root, outcomes = Path(spec.data.root), run_plan(spec, RunContext(home))
    rows = pq.read_table(Path(outcomes[2].folder) / "predictions.parquet").to_pylist()
    assert len(rows) == len(SIZES) * len(CLASSES)
    numbers = [CLASSES[name] for name in sorted(CLASSES)]
    for row in rows:
        with torch.inference_mode():
            expected = answer(Image.open(root / row["id"]).convert("RGB"))[numbers]
        np.testing.assert_allclose(row["logits"], expected.numpy(), atol=1e-4, rtol=0)
    return outcomes


def test_a_classifier_answers_as_torchvisions_own_model_and_transform_do(photos, tmp_path):
    torch.manual_seed(0)
    model = tv.resnet18(weights=None).eval()
    torch.nn.init.normal_(model.fc.weight, std=0.5)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    preset = tv.ResNet18_Weights.IMAGENET1K_V1.transforms()
    backbone = {"source": "checkpoint", "name": "resnet18", "weights": str(tmp_path / "w.pth")}
    compare(as_it_is(photos, backbone), tmp_path / "home", lambda image: model(preset(image)[None])[0])


def test_a_classifier_answers_as_timms_own_model_and_transform_do(photos, tmp_path):
    """With real weights, from a package, on images that are all there to be measured on."""
    model = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
    model.load_state_dict(convert_lite0(read_state(fetch_weights(package_file()))))
    config = timm.data.resolve_model_data_config(model)
    preset = timm.data.create_transform(**config, is_training=False)
    backbone = {"source": "package", "name": "tf_efficientnet_lite0"}
    spec = as_it_is(photos / "test", backbone, split=ALL_FOR_TEST)
    outcomes = compare(spec, tmp_path / "home", lambda image: model(preset(image)[None])[0])
    assert outcomes[0].summary["images"] == {"train": 0, "val": 0, "test": 12}
    assert outcomes[1].summary["kept"].endswith("no image is left to validate on")
    page = (Path(outcomes[3].folder) / "report.html").read_text()
    assert "Nothing was trained: these are the weights as they came." in page


@pytest.mark.parametrize(
    ("classes", "what"),
    [
        (("tench", "Dackel"), "ImageNet-1K does not know each class"),
        (("tench", "n01440764"), "two classes are one"),
    ],
)
def test_classes_by_another_name_are_refused_with_what_fits(classes, what):
    backbone = {"source": "package", "name": "tf_efficientnet_lite0"}
    with pytest.raises(PlanError, match=re.escape(what)) as caught:
        build_parts(as_it_is(Path(), backbone), classes, pretrained=False, device="meta")
    assert classes[1] in caught.value.problems[0].found


def test_weights_without_that_classifier_are_refused_with_what_fits(tmp_path):
    model = tv.resnet18(weights=None, num_classes=7)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    backbone = {"source": "checkpoint", "name": "resnet18", "weights": str(tmp_path / "w.pth")}
    with pytest.raises(PlanError, match="carry no classifier of ImageNet-1K") as caught:
        build_parts(as_it_is(tmp_path, backbone), ("tench", "goldfish"), pretrained=True)
    (problem,) = caught.value.problems
    assert problem.found == "one of 7 classes, 512 features wide"
    assert "prototypes" in problem.hint
