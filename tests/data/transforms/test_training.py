import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from skimage import data as photos
from torchvision.transforms import v2

from transferflow.data.transforms.evaluation import EvalTransform
from transferflow.data.transforms.named import check_transforms
from transferflow.data.transforms.sample import VOID, Sample
from transferflow.data.transforms.training import build_train_transform
from transferflow.spec.sections.augmentation import Augmentation

PHOTO = photos.astronaut()


def augmentation(**fields):
    return TypeAdapter(Augmentation).validate_python(fields)


def square(mode="crop", channels=3, side=64) -> EvalTransform:
    resize = round(side / 0.875) if mode == "crop" else side
    return EvalTransform(
        (side, side), (resize, resize), (0.1,) * channels, (0.25,) * channels, channels=channels, mode=mode
    )


def bright_square(side=64, channels=3) -> Sample:
    """A bright square on black, with its box and its mask: they must stay together."""
    image = np.zeros((side, side, channels), np.uint8)
    mask = np.zeros((side, side), np.uint8)
    image[20:36, 24:44] = 255
    mask[20:36, 24:44] = 1
    return Sample(image, np.array([[24, 20, 44, 36]], np.float32), np.array([3]), mask)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 13])
@pytest.mark.parametrize("preset", ["none", "similar_domain", "different_domain"])
def test_presets_work_for_any_number_of_channels(preset, channels):
    transform = build_train_transform(augmentation(preset=preset), square(channels=channels), None)
    image = np.random.default_rng(0).integers(0, 256, (80, 100, channels), np.uint8)
    found = transform(image, seed=1)
    assert (found.shape, found.dtype) == ((channels, 64, 64), torch.float32)
    assert torch.equal(found, transform(image, seed=1))
    differs = any(not torch.equal(found, transform(image, seed=seed)) for seed in range(2, 8))
    assert differs == transform.is_random == (preset != "none")


@pytest.mark.parametrize("mode", ["letterbox", "stretch"])
@pytest.mark.parametrize("preset", ["similar_domain", "different_domain"])
def test_classification_that_crops_nothing_varies_in_size(preset, mode):
    transform = build_train_transform(augmentation(preset=preset), square(mode), None)
    sizes = {int((transform.vary(bright_square(), seed).image[..., 0] > 140).sum()) for seed in range(30)}
    assert max(sizes) > 1.2 * min(sizes)


def test_none_is_the_evaluation_transform():
    base = square()
    transform = build_train_transform(augmentation(preset="none"), base, None)
    assert torch.equal(transform(PHOTO, seed=5), base(PHOTO))


def test_similar_domain_crops_and_flips():
    base = square(side=224)
    transform = build_train_transform(augmentation(preset="similar_domain"), base, None)
    assert transform.base.resize == (256, 256)
    # Columns and rows as colours: where a pixel came from can be read off it.
    rows, columns = np.mgrid[0:256, 0:256].astype(np.uint8)
    sample = Sample(np.dstack([rows, columns, rows]))
    seen = set()
    for seed in range(40):
        image = transform.vary(sample, seed).image
        top, left, right = image[0, 0, 0], image[0, 0, 1], image[0, -1, 1]
        assert abs(int(right) - int(left)) == 223
        assert image[-1, 0, 0] == top + 223
        seen.add((int(top), bool(right < left)))
    assert len({top for top, _ in seen}) > 10
    assert {flipped for _, flipped in seen} == {True, False}


def test_presets_crop_even_where_evaluation_does_not():
    base = EvalTransform((224, 224), (224, 224), (0.5,) * 3, (0.25,) * 3)
    assert build_train_transform(augmentation(), base, None).base.resize == (256, 256)
    wide = replace(base, image_size=(96, 160), resize=(96, 160))
    transform = build_train_transform(augmentation(), wide, None)
    assert transform.base.resize == (110, 183)
    assert transform(PHOTO, 0).shape == (3, 96, 160)


def test_brightness_and_contrast_stay_within_torchvisions_limits():
    transform = build_train_transform(augmentation(preset="different_domain"), square(), None)
    flat = np.full((73, 73, 3), 100, np.uint8)
    levels = {int(np.median(transform.vary(Sample(flat), seed).image)) for seed in range(100)}
    assert 65 <= min(levels) < 80  # contrast pulls towards the mean, which the filled border shifts
    assert 120 < max(levels) <= 135
    reference = v2.ColorJitter(brightness=0.3)
    limits = {int(reference(torch.full((3, 8, 8), 100, dtype=torch.uint8))[0, 0, 0]) for _ in range(100)}
    assert min(limits) >= 70
    assert max(limits) <= 130


@pytest.mark.parametrize("preset", ["similar_domain", "different_domain"])
def test_boxes_move_with_the_image(preset):
    transform = build_train_transform(augmentation(preset=preset), square("letterbox"), "boxes")
    for seed in range(40):
        found = transform.vary(bright_square(), seed)
        assert found.labels.tolist() == [3] * len(found.boxes)
        for x_min, y_min, x_max, y_max in found.boxes:
            bright = found.image[..., 0] > 140
            rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
            assert abs(columns[0] - x_min) <= 5
            assert abs(columns[-1] + 1 - x_max) <= 5
            assert abs(rows[0] - y_min) <= 5
            assert abs(rows[-1] + 1 - y_max) <= 5


@pytest.mark.parametrize("preset", ["similar_domain", "different_domain"])
def test_masks_move_with_the_image(preset):
    transform = build_train_transform(augmentation(preset=preset), square("letterbox"), "mask")
    for seed in range(40):
        found = transform.vary(bright_square(), seed)
        assert set(np.unique(found.mask)) <= {0, 1, VOID}
        bright, object_ = found.image[..., 0] > 140, found.mask == 1
        assert (bright & object_).sum() / (bright | object_).sum() > 0.85


def test_an_image_without_boxes_stays_one():
    transform = build_train_transform(augmentation(preset="different_domain"), square("letterbox"), "boxes")
    empty = Sample(bright_square().image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    found = transform.vary(empty, 0)
    assert (found.boxes.shape, found.labels.shape) == ((0, 4), (0,))
    assert (found.boxes.dtype, found.labels.dtype) == (np.float32, np.int64)


def test_a_box_that_leaves_the_image_is_dropped():
    custom = augmentation(
        transforms=[{"name": "Affine", "probability": 1.0, "args": {"translate_px": {"x": -40, "y": 0}}}]
    )
    transform = build_train_transform(custom, square("letterbox"), "boxes")
    sample = bright_square()
    boxes = np.concatenate([sample.boxes, [[50, 0, 60, 10]]]).astype(np.float32)
    found = transform.vary(Sample(sample.image, boxes, np.array([3, 4])), 0)
    assert found.labels.tolist() == [3, 4]
    np.testing.assert_allclose(found.boxes, [[0, 20, 4, 36], [10, 0, 20, 10]], atol=0.01)
    gone = transform.vary(Sample(sample.image, np.array([[24, 20, 41, 36]], np.float32), np.array([3])), 0)
    assert len(gone.boxes) == 0


def test_small_pictures_are_padded_and_large_ones_cropped():
    smaller = augmentation(
        transforms=[{"name": "CenterCrop", "probability": 1.0, "args": {"height": 20, "width": 20}}]
    )
    larger = augmentation(
        transforms=[{"name": "Resize", "probability": 1.0, "args": {"height": 200, "width": 100}}]
    )
    for choice in (smaller, larger):
        for mode in ("crop", "letterbox"):
            transform = build_train_transform(choice, square(mode), "mask")
            found = transform.vary(bright_square(73 if mode == "crop" else 50), 0)
            assert found.image.shape == (64, 64, 3)
            assert found.mask.shape == (64, 64)


def test_one_of_takes_one():
    choice = augmentation(
        transforms=[
            {
                "probability": 1.0,
                "one_of": [
                    {"name": "InvertImg", "probability": 1.0},
                    {"name": "VerticalFlip", "probability": 1.0},
                ],
            }
        ]
    )
    transform = build_train_transform(choice, square("letterbox"), None)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    found = [transform.vary(Sample(image), seed).image for seed in range(20)]
    inverted = sum(np.array_equal(f, 255 - image) for f in found)
    flipped = sum(np.array_equal(f, image[::-1]) for f in found)
    assert inverted + flipped == 20
    assert 3 < inverted < 17


def problems(*transforms, channels=3, moving=None):
    return dict(check_transforms(augmentation(transforms=list(transforms)), channels, moving))


def test_good_transforms_have_no_problem():
    good = [
        {"name": "RandomResizedCrop", "args": {"size": [64, 64], "scale": [0.5, 1.0]}},
        {"name": "GaussianBlur", "probability": 0.1, "args": {"blur_limit": [3, 5]}},
        {"name": "CoarseDropout"},
        {"name": "RandomCrop", "args": {"height": 300, "width": 300}},
        {"one_of": [{"name": "Sharpen"}, {"name": "CLAHE"}]},
    ]
    assert problems(*good) == {}
    assert check_transforms(augmentation(preset="different_domain"), 3) == []


def test_an_unknown_name_suggests_a_near_one_or_lists_what_exists():
    found = problems({"name": "HorizontalFlp"})
    assert found["transforms", "0", "name"].endswith("did you mean HorizontalFlip?")
    assert "VerticalFlip" in problems({"name": "Zzz"})["transforms", "0", "name"]


@pytest.mark.parametrize(
    "name",
    [
        *("os", "cv2", "load", "__builtins__", "albumentations.Blur"),
        *("Compose", "ReplayCompose", "BasicTransform", "CenterCrop3D"),
        *("Lambda", "TextImage", "Normalize", "ToTensorV2", "Mosaic"),
    ],
)
def test_only_transforms_can_be_named(name):
    text = problems({"name": name})["transforms", "0", "name"]
    assert "there is no transform" in text or "can't be used" in text


def test_arguments_are_checked():
    found = problems(
        {"name": "Blur", "args": {"blur_limt": 3}},
        {"name": "Blur", "args": {"blur_limit": "x"}},
        {"name": "Rotate", "args": {"limit": 10, "p": 0.5}},
        {"one_of": [{"name": "Blur"}, {"name": "RandomResizedCrop"}]},
        {"name": "Resize", "args": {"height": 10**9, "width": 3}},
        {"name": "Affine", "args": {"scale": [0.5, 1.5, 2.5]}},
    )
    assert "did you mean `blur_limit`?" in found["transforms", "0", "args", "blur_limt"]
    assert "Blur" in found["transforms", "1", "args", "blur_limit"]
    assert "`probability`" in found["transforms", "2", "args", "p"]
    assert "Field required" in found["transforms", "3", "one_of", "1", "args", "size"]
    assert "too large" in found["transforms", "4", "args", "height"]
    assert any(path[:4] == ("transforms", "5", "args", "scale") for path in found)


@pytest.mark.parametrize("name", ["ToSepia", "HueSaturationValue", "RGBShift", "ISONoise", "ToGray"])
def test_transforms_for_rgb_are_refused_for_other_channels(name):
    assert problems({"name": name}, channels=3) == {}
    assert "5 channels" in problems({"name": name}, channels=5)["transforms", "0", "name"]


def test_a_change_of_the_kind_of_image_is_refused():
    found = problems({"name": "ToGray", "args": {"num_output_channels": 1}})
    assert "makes uint8 of shape" in found["transforms", "0", "name"]


def test_what_the_task_lacks_is_refused():
    crop = {"name": "CropNonEmptyMaskIfExists", "args": {"height": 32, "width": 32}}
    assert problems(crop, moving="mask") == {}
    assert problems(crop)
    safe = {"name": "BBoxSafeRandomCrop"}
    assert problems(safe, moving="boxes") == {}
    assert "needs bboxes" in problems(safe)["transforms", "0", "name"]


def test_albumentations_is_imported_only_for_named_transforms():
    code = (
        "import sys\n"
        "from transferflow.data.transforms.training import build_train_transform\n"
        "from transferflow.data.transforms.named import check_transforms\n"
        "from transferflow.spec.sections.augmentation import Preset\n"
        "assert check_transforms(Preset(), 3) == []\n"
        "assert 'albumentations' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
