"""Boxes and masks as the report shows them: in the right place, readable, never an error."""

from __future__ import annotations

import numpy as np
import pytest

from transferflow.data.records import Box
from transferflow.evaluation.pictures import Panel, Picture
from transferflow.report.inline_images import inline_image, inline_picture
from transferflow.tasks.rendering.drawing import class_colour, draw_boxes, draw_mask


@pytest.mark.parametrize(
    "box",
    [
        Box(10, 10, 10.2, 10.1, "a"),
        Box(0, 0, 1, 1, "a"),
        Box(-5, -5, 3, 500, "a"),
        Box(59, 39, 60, 40, "a"),
    ],
)
def test_any_box_can_be_drawn(box):
    image = np.zeros((40, 60), np.uint8)
    drawn = draw_boxes(image, [box], ("a", "b"), [0.5])
    assert drawn.shape == (240, 360, 3)
    assert (drawn == class_colour(0)).all(axis=2).any()
    assert not image.any()


def test_a_box_stands_where_it_belongs():
    drawn = draw_boxes(np.zeros((40, 60, 3), np.uint8), [Box(5, 10, 30, 20, "only")], ("only",))
    rows, columns = np.nonzero((drawn == class_colour(0)).all(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (60, 119, 30, 179)


def test_a_hidden_class_stays_as_it_was():
    image = np.full((8, 8, 3), 90, np.uint8)
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 5:] = 1
    drawn = draw_mask(image, mask, hidden=(0,))
    assert (drawn[:, :4] == 90).all()
    assert (drawn[:, 6:] != 90).any(axis=2).all()


@pytest.mark.parametrize(("shape", "kind"), [((20, 30), "png"), ((900, 500, 3), "jpeg"), ((1, 2000), "jpeg")])
def test_pictures_are_small_and_of_the_right_kind(shape, kind):
    found = inline_image(np.full(shape, 128, np.uint8))
    assert found.uri.startswith(f"data:image/{kind};base64,")
    assert max(found.width, found.height) <= 320
    assert found.pixelated == (kind == "png")


def test_a_panorama_has_a_row_of_its_own_and_enough_pixels():
    def of(*shape):
        return inline_picture(Picture((Panel(np.zeros(shape, np.uint8)), Panel(np.zeros(shape, np.uint8)))))

    wide, tall, usual = of(160, 1280), of(1280, 160), of(300, 800)
    assert (wide.strip, wide.panels[0].width, wide.panels[0].height) == (True, 960, 120)
    assert not tall.strip
    assert not usual.strip
    assert max(tall.panels[0].height, usual.panels[0].width) == 480


def test_noise_can_be_encoded():
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    assert inline_image(noise).uri.startswith("data:image/jpeg")
