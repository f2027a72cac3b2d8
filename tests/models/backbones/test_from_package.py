from __future__ import annotations

from pathlib import Path

import pytest
import skimage
import sklearn
import timm
import torch
from PIL import Image
from torchvision.models import ResNet50_Weights
from torchvision.transforms import functional as transform

from transferflow.errors import WeightsError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.backbones.from_package import convert_lite0, package_file
from transferflow.models.weights.files import fetch_weights
from transferflow.models.weights.state_files import read_state

SKIMAGE = Path(skimage.__file__).parent / "data"
SKLEARN = Path(sklearn.__file__).parent / "datasets" / "images"
PHOTOS = {
    SKLEARN / "china.jpg": {"palace"},
    SKLEARN / "flower.jpg": {"daisy"},
    SKIMAGE / "chelsea.png": {"tabby", "tiger cat", "Egyptian cat"},
    SKIMAGE / "coffee.png": {"espresso"},
    SKIMAGE / "rocket.jpg": {"missile", "projectile"},
    SKIMAGE / "motorcycle_left.png": {"moped", "motor scooter"},
}


@pytest.fixture(scope="module")
def state():
    return read_state(fetch_weights(package_file()))


def test_real_predictions_on_real_photos(section, state):
    spec = section(source="package", name="tf_efficientnet_lite0")
    backbone = build_backbone(spec, channels=3, image_size=None).eval()
    classifier = torch.nn.Linear(1280, 1000)
    classifier.load_state_dict({"weight": state["_fc.weight"], "bias": state["_fc.bias"]})
    known = backbone.preprocessing
    names = ResNet50_Weights.IMAGENET1K_V2.meta["categories"]
    for path, right in PHOTOS.items():
        image = transform.to_tensor(Image.open(path).convert("RGB"))
        side = round(known.image_size[0] / known.crop_fraction)
        image = transform.resize(image, side, transform.InterpolationMode.BICUBIC, antialias=True)
        image = transform.center_crop(image, known.image_size)
        image = transform.normalize(image, known.mean, known.std)
        with torch.no_grad():
            scores = classifier(backbone(image[None]))
        assert names[scores.argmax()] in right, path.name


def test_every_key_is_converted_and_fits(state):
    converted = convert_lite0(state)
    assert len(converted) == len(state)
    timm.create_model("tf_efficientnet_lite0").load_state_dict(converted, strict=True)


def test_an_unknown_key_is_refused(state):
    with pytest.raises(WeightsError, match=r"_blocks\.16\._bn0\.bias"):
        convert_lite0({**state, "_blocks.16._bn0.bias": torch.zeros(1)})


def test_another_hash_is_refused(section):
    spec = section(source="package", name="tf_efficientnet_lite0", sha256="0" * 64)
    with pytest.raises(WeightsError, match="not the one that was asked for"):
        build_backbone(spec, channels=3, image_size=None)


def test_groups(section, check_groups):
    spec = section(source="package", name="tf_efficientnet_lite0")
    backbone = build_backbone(spec, channels=1, image_size=64, pretrained=False, device="meta")
    check_groups(backbone)
    names = [group.name for group in backbone.groups]
    assert names == ["conv_stem", *(f"blocks.{i}" for i in range(7)), "conv_head"]
