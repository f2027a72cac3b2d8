from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageEnhance

from transferflow.data.checks.duplicates import MAX_DISTANCE, find_near_duplicates
from transferflow.data.files.appearance import perceptual_hash


def column(rows):
    return pa.chunked_array([pa.array(rows, pa.binary(32))])


def flip(value, bits, random):
    array = np.unpackbits(np.frombuffer(value, np.uint8))
    array[random.choice(256, bits, replace=False)] ^= 1
    return np.packbits(array).tobytes()


def test_every_close_pair_is_found_and_no_other():
    random = np.random.default_rng(0)
    rows = [random.bytes(32) for _ in range(2000)]
    planted = set()
    for i in range(300):
        distance = i % 20
        planted |= {(i, len(rows))} if distance <= MAX_DISTANCE else set()
        rows.append(flip(rows[i], distance, random))
    rows[5] = None
    planted -= {pair for pair in planted if 5 in pair}
    assert set(find_near_duplicates(column(rows))) == planted


def test_long_runs_of_equal_hashes_stay_cheap():
    rows = [b"\x01" * 32] * 30_000
    assert len(find_near_duplicates(column(rows))) >= 29_999


@pytest.mark.parametrize("rows", [[], [None], [b"x" * 32], [None, None, b"x" * 32]])
def test_nothing_to_compare(rows):
    assert find_near_duplicates(column(rows)) == []


def photo(name):
    data = pytest.importorskip("sklearn.datasets")
    return Image.fromarray(data.load_sample_image(name))


def jpeg(image, quality):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def distance(a, b):
    one, two = (np.unpackbits(np.frombuffer(perceptual_hash(i.convert("L")), np.uint8)) for i in (a, b))
    return int((one != two).sum())


def test_real_photos_survive_what_people_do_to_them():
    china, flower = photo("china.jpg"), photo("flower.jpg")
    for other in (jpeg(china, 40), china.resize((200, 133)), ImageEnhance.Brightness(china).enhance(0.9)):
        assert distance(china, other) <= MAX_DISTANCE
    assert distance(china, flower) > 80
    assert distance(china, china.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > 80


def test_smooth_images_survive_too():
    y, x = np.mgrid[0:200, 0:300]
    blob = Image.fromarray((np.exp(-((x - 120) ** 2 + (y - 80) ** 2) / 4000) * 200 + 20).astype(np.uint8))
    slope = Image.fromarray(((x + y) / 2).astype(np.uint8))
    for image in (blob, slope):
        assert distance(image, jpeg(image, 40)) <= MAX_DISTANCE
        assert distance(image, image.resize((96, 64))) <= MAX_DISTANCE
        assert distance(image, ImageEnhance.Contrast(image).enhance(0.8)) <= MAX_DISTANCE
    assert distance(blob, slope) > 60


@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_images_have_no_hash(value):
    assert perceptual_hash(Image.new("L", (50, 50), value)) is None


def test_the_hash_is_the_same_on_every_machine():
    slope = Image.fromarray(np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8))
    assert perceptual_hash(slope).hex()[:16] == "ca883af8d4fc3680"
