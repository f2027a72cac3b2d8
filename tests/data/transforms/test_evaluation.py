import json

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter
from skimage import data as photos
from sklearn.datasets import load_sample_image
from torchvision import transforms

from transferflow.data.files.geometry import resize_mask
from transferflow.data.transforms.evaluation import EvalTransform, build_eval_transform
from transferflow.data.transforms.numbers import normalize_pixels
from transferflow.data.transforms.sample import VOID, Sample
from transferflow.errors import DataError
from transferflow.spec.sections.backbone import Normalization
from transferflow.spec.sections.guide import decide_fit
from transferflow.spec.sections.intensity import Percentile
from transferflow.spec.sections.task import Task

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINDS = {"bilinear": transforms.InterpolationMode.BILINEAR, "bicubic": transforms.InterpolationMode.BICUBIC}


def build(data_section, kind="classification", **options) -> EvalTransform:
    fields = {
        key: options.pop(key) for key in ("channels", "image_size", "intensity", "fit") if key in options
    }
    data = data_section(format="image_folder", root=".", **fields)
    task = TypeAdapter(Task).validate_python({"kind": kind})
    return build_eval_transform(data, decide_fit(data, task), **{"mean": MEAN, "std": STD} | options)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [None, 64, 75])
def test_classification_equals_torchvision(data_section, interpolation, size):
    ours = build(data_section, image_size=size, interpolation=interpolation)
    side = size or 224
    theirs = transforms.Compose(
        [
            transforms.Resize(round(side / 0.875), KINDS[interpolation]),
            transforms.CenterCrop(side),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    for photo in (load_sample_image("china.jpg"), photos.chelsea(), photos.coffee().swapaxes(0, 1)):
        found = ours(np.ascontiguousarray(photo))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, theirs(Image.fromarray(photo)), rtol=0, atol=0)


def test_resize_is_256_for_224(data_section):
    assert build(data_section).resize == (256, 256)


def test_a_rectangle_is_cut_out_of_the_middle_as_torchvision_does(data_section):
    ours, photo = build(data_section, image_size=(96, 160)), photos.coffee()
    theirs = transforms.Compose(
        [  # 400 x 600 just covers 110 x 183, which is 96 x 160 over 0.875
            transforms.Resize((122, 183)),
            transforms.CenterCrop((96, 160)),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    assert torch.equal(ours(photo), theirs(Image.fromarray(photo)))
    upright = ours(np.ascontiguousarray(photo.swapaxes(0, 1)))
    assert upright.shape == (3, 96, 160)


@pytest.mark.parametrize("size", [(400, 600), (600, 400), (40, 320), (320, 40), (96, 160), (1, 1)])
@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_boxes_of_a_rectangle_are_led_back(data_section, size, fit):
    ours = build(data_section, "detection", image_size=(96, 160), fit=fit)
    height, width = size
    assert ours(np.zeros((height, width, 3), np.uint8)).shape == (3, 96, 160)
    inside = ours.resized(size)
    assert inside[0] == 96 or inside[1] == 160
    assert inside[0] <= 96
    assert inside[1] <= 160
    boxes = np.array([[0, 0, width, height]], np.float32)
    seen = boxes * np.array([inside[1] / width, inside[0] / height] * 2, np.float32)
    np.testing.assert_allclose(ours.boxes_to_original(seen, size), boxes, atol=1e-3)


def test_the_letterbox_of_a_rectangle_keeps_the_aspect(data_section):
    ours = build(data_section, "detection", image_size=(96, 160))
    assert ours.resized((400, 600)) == (96, 144)
    assert ours.resized((400, 1600)) == (40, 160)


def test_a_bundle_with_one_number_for_a_square_is_read(data_section):
    ours = build(data_section, image_size=64)
    assert EvalTransform.from_json(ours.to_json() | {"image_size": 64, "resize": 73}) == ours


def test_a_batch_gives_what_single_images_give(data_section):
    ours = build(data_section, image_size=64)
    images = [photos.chelsea(), photos.astronaut()]
    batch = np.stack([ours.fit(ours.resize_image(image)) for image in images])
    together = ours.normalize(torch.from_numpy(batch))
    assert torch.equal(together, torch.stack([ours(image) for image in images]))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_pixels_are_normalised_where_they_lie(channels):
    pixels = torch.randint(0, 256, (3, 7, 9, channels), dtype=torch.uint8)
    mean, std = np.linspace(0.3, 0.6, channels), np.linspace(0.2, 0.4, channels)
    found = normalize_pixels(pixels, mean.tolist(), std.tolist())
    assert found.is_contiguous(memory_format=torch.channels_last)
    values = pixels.permute(0, 3, 1, 2).contiguous().float() / 255
    assert torch.equal(
        found, transforms.functional.normalize(values, mean.tolist(), std.tolist())
    )  # torchvision's, to the bit


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_every_channel_is_treated_alike(data_section, channels):
    gray = photos.camera()
    ours = build(data_section, channels=channels, image_size=64)
    assert ours.mean == pytest.approx((sum(MEAN) / 3,) * channels)
    found = ours(np.repeat(gray[..., None], channels, axis=2))
    assert found.shape == (channels, 64, 64)
    single = build(data_section, channels=1, image_size=64)(gray[..., None])
    assert torch.equal(found, single.expand(channels, -1, -1))


def test_json_and_back(data_section):
    ours = build(data_section, image_size=64, channels=1, intensity=Percentile(kind="percentile", low=1.0))
    text = json.dumps(ours.to_json())
    assert EvalTransform.from_json(json.loads(text)) == ours


@pytest.mark.parametrize("change", [{"image_size": "large"}, {"resize": None}, {"mode": "x"}])
def test_damaged_json_is_an_error(data_section, change):
    with pytest.raises(DataError, match="eval transform can't be read"):
        EvalTransform.from_json(build(data_section).to_json() | change)


def test_normalization_of_the_spec_wins(data_section):
    one = Normalization(mean=(0.5,), std=(0.25,))
    assert build(data_section, normalization=one).mean == (0.5, 0.5, 0.5)
    three = Normalization(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    assert build(data_section, normalization=three).mean == (0.1, 0.2, 0.3)
    assert build(data_section, channels=1, normalization=three).mean == pytest.approx((0.2,))


@pytest.mark.parametrize("size", [(300, 400), (400, 300), (64, 64), (10, 500), (37, 23)])
def test_letterbox_leads_boxes_back(data_section, size):
    ours = build(data_section, "detection", image_size=128)
    height, width = size
    assert ours(np.zeros((height, width, 3), np.uint8)).shape == (3, 128, 128)
    boxes = np.array([[0, 0, width, height], [1, 2, width / 2, height / 2]], np.float32)
    inside = ours.resized(size)
    scaled = boxes * np.array([inside[1] / width, inside[0] / height] * 2, np.float32)
    assert scaled.max() <= 128
    np.testing.assert_allclose(ours.boxes_to_original(scaled, size), boxes, atol=1e-3)
    beyond = ours.boxes_to_original(np.array([[-5, -5, 500, 500]], np.float32), size)
    np.testing.assert_allclose(beyond, [[0, 0, width, height]])


def test_letterbox_leads_masks_back(data_section):
    ours = build(data_section, "segmentation", image_size=128)
    mask = np.zeros((256, 200), np.uint8)
    mask[40:200, 20:120] = 1
    fitted = ours.fit_sample(
        Sample(ours.resize_image(mask[..., None].repeat(3, 2)), mask=ours.resize_mask(mask))
    )
    assert fitted.mask.shape == (128, 128)
    assert set(np.unique(fitted.mask[:, 100:])) == {VOID}
    height, width = ours.resized((256, 200))
    np.testing.assert_array_equal(resize_mask(fitted.mask[:height, :width].copy(), (256, 200)), mask)


def test_the_padding_is_zero_once_normalised(data_section):
    ours = build(data_section, "detection", image_size=64)
    found = ours(np.full((64, 32, 3), 255, np.uint8))
    assert found[:, :, 32:].abs().max() < 0.01
    assert found[:, :, :32].min() > 2


@pytest.mark.parametrize("kind", ["classification", "detection"])
def test_stretch_keeps_all_of_the_image(data_section, kind):
    ours = build(data_section, kind, fit="stretch", image_size=64)
    photo = photos.coffee()
    theirs = transforms.Compose(
        [transforms.Resize((64, 64)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )
    assert torch.equal(ours(photo), theirs(Image.fromarray(photo)))
    boxes = np.array([[0, 0, 64, 64], [16, 32, 32, 64]], np.float32)
    np.testing.assert_allclose(
        ours.boxes_to_original(boxes, photo.shape[:2]), [[0, 0, 600, 400], [150, 200, 300, 400]]
    )


def test_letterbox_for_classification_sees_the_ends_of_a_long_image(data_section):
    image = np.zeros((32, 512, 3), np.uint8)
    image[:, -8:] = 255
    seen = {fit: build(data_section, fit=fit, image_size=64)(image).max() for fit in ("crop", "letterbox")}
    assert seen["crop"] < 0 < seen["letterbox"]


def test_a_crop_can_not_be_led_back(data_section):
    with pytest.raises(DataError, match="can't be led back"):
        build(data_section).boxes_to_original(np.zeros((0, 4), np.float32), (8, 8))
