import numpy as np
import pytest

from transferflow.data.records import Box
from transferflow.tasks.drawing import class_colour, draw_boxes, draw_mask

GRAY = np.full((60, 80), 100, np.uint8)
COLOUR = np.full((60, 80, 3), 100, np.uint8)


@pytest.mark.parametrize("image", [GRAY, COLOUR], ids=["gray", "colour"])
def test_a_box_has_its_class_colour_on_its_edge_and_the_image_inside(image):
    drawn = draw_boxes(image, [Box(10, 20, 50, 50, "b")], ["a", "b"])
    assert drawn.shape == (60, 80, 3)
    assert tuple(drawn[49, 30]) == class_colour(1)
    assert tuple(drawn[35, 49]) == class_colour(1)
    assert tuple(drawn[40, 40]) == (100, 100, 100)
    assert (image == 100).all()


def test_no_boxes_draw_nothing():
    assert (draw_boxes(GRAY, [], ["a"], []) == 100).all()


def test_a_mask_tints_its_classes_and_leaves_background_and_ignored_pixels():
    mask = np.zeros((60, 80), np.uint8)
    mask[:, 20:40], mask[:, 60:] = 1, 255
    drawn = draw_mask(GRAY, mask)
    assert tuple(drawn[30, 5]) == tuple(drawn[30, 70]) == (100, 100, 100)
    blend = np.array(class_colour(1)) * 0.45 + 100 * 0.55
    assert np.abs(drawn[30, 30].astype(float) - blend).max() <= 1
    assert tuple(drawn[30, 20]) == class_colour(1)  # the border is opaque
