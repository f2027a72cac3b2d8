"""Images are read ahead, in their order, and are what the transform alone makes of them."""

import threading

import numpy as np
import pytest
from PIL import Image

from transferflow.data.transforms.evaluation import EvalTransform
from transferflow.inference import reading
from transferflow.inference.batches import BATCH
from transferflow.inference.reading import read_ahead
from transferflow.inference.sources import Failure, NamedImage

TRANSFORM = EvalTransform(
    channels=3, image_size=(32, 32), resize=(36, 36), mode="crop", mean=(0.5,) * 3, std=(0.5,) * 3
)


@pytest.fixture
def images(tmp_path):
    """Files of sizes that differ, the fourth of them damaged, then the content of one and an array."""
    random, found = np.random.default_rng(0), []
    for number in range(2 * BATCH):
        path = tmp_path / f"{number}.png"
        Image.fromarray(random.integers(0, 255, (40 + number, 60, 3)).astype(np.uint8)).save(path)
        found.append(NamedImage(path.name, path))
    (tmp_path / "3.png").write_bytes(b"no image")
    array = random.integers(0, 255, (50, 50, 3)).astype(np.uint8)
    return [*found, NamedImage("content", (tmp_path / "0.png").read_bytes()), NamedImage("array", array)]


def test_images_come_in_their_order_as_the_transform_makes_them(images):
    found = list(read_ahead(TRANSFORM, images))
    assert [name for name, _ in found] == [image.name for image in images]
    assert [name for name, read in found if isinstance(read, Failure)] == ["3.png"]
    for image, (_, read) in zip(images[:3], found, strict=False):
        pixels = np.asarray(Image.open(image.source))
        assert read.size == (60, pixels.shape[0])
        np.testing.assert_array_equal(read.pixels, TRANSFORM.fit(TRANSFORM.resize_image(pixels)))
    np.testing.assert_array_equal(found[0][1].pixels, found[-2][1].pixels)


def test_at_most_a_batch_is_read_ahead_and_files_by_other_threads(images, monkeypatch):
    taken, readers = [], {}

    def give():
        for image in images:
            taken.append(image.name)
            yield image

    def note(transform, image):
        readers[image.name] = threading.current_thread()
        return Failure(image.name, "")

    monkeypatch.setattr(reading, "read_image", note)
    reader = read_ahead(TRANSFORM, give())
    next(reader)
    assert len(taken) == BATCH + 1
    assert len(list(reader)) == len(images) - 1
    assert readers["array"] is threading.current_thread()
    assert readers["0.png"] is not threading.current_thread()


def test_who_stops_early_leaves_no_thread(images):
    before = threading.active_count()
    reader = read_ahead(TRANSFORM, images)
    next(reader)
    reader.close()
    assert threading.active_count() == before
