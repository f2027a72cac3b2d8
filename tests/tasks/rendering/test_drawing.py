import numpy as np
import pytest

from transferflow.data.records import Box
from transferflow.tasks.rendering.drawing import CROWD, add_legend, class_colour, draw_boxes, draw_mask

GRAY = np.full((60, 80), 100, np.uint8)
COLOUR = np.full((60, 80, 3), 100, np.uint8)


@pytest.mark.parametrize("image", [GRAY, COLOUR], ids=["gray", "colour"])
def test_a_box_has_its_class_colour_on_its_edge_and_the_image_inside(image):
    drawn = draw_boxes(image, [Box(10, 20, 50, 50, "b")], ["a", "b"])
    assert drawn.shape == (240, 320, 3)
    assert tuple(drawn[199, 120]) == class_colour(1)
    assert tuple(drawn[140, 199]) == class_colour(1)
    assert tuple(drawn[160, 160]) == (100, 100, 100)
    assert (image == 100).all()


@pytest.mark.parametrize(
    ("size", "drawn"), [((100, 40), (400, 160)), ((320, 9), (320, 9)), ((500, 400), (500, 400))]
)
def test_small_images_are_enlarged_by_a_whole_factor(size, drawn):
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0]), np.uint8)
    picture = draw_boxes(image, [], ["a"])
    factor = drawn[0] // size[0]
    assert picture.shape == (drawn[1], drawn[0], 3)
    assert (picture[factor // 2 :: factor, factor // 2 :: factor, 0] == image).all()


def test_the_best_box_lies_on_top_and_crowds_lie_below_in_gray():
    image = np.zeros((400, 400), np.uint8)
    edges = (50, 50, 350, 350)
    boxes = [Box(*edges, "a"), Box(*edges, "b"), Box(*edges, "a", crowd=True)]
    best_first = draw_boxes(image, boxes, ["a", "b"], [0.9, 0.4, 1.0])
    best_last = draw_boxes(image, boxes, ["a", "b"], [0.4, 0.9, 1.0])
    assert tuple(best_first[200, 50]) == class_colour(0)
    assert tuple(best_last[200, 50]) == class_colour(1)
    alone = draw_boxes(image, boxes[2:], ["a", "b"])
    assert tuple(alone[200, 50]) == CROWD
    assert not (alone == class_colour(0)).all(axis=2).any()


def test_colours_of_classes_differ_for_colour_blind_readers_too():
    """Least distance in CIELAB, as seen normally and without red or green cones (Machado 2009)."""
    linear = np.array([class_colour(n) for n in range(8)]) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    without_red = [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.052]]
    without_green = [[0.3673, 0.8606, -0.228], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]
    to_xyz = np.array([[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8728]])
    for seen in (np.eye(3), np.array(without_red), np.array(without_green)):
        x, y, z = np.cbrt(np.clip(to_xyz @ seen @ linear.T, 0.009, None))
        lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)
        distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(8, 1)]
        assert distances.min() > 15


def test_a_legend_names_the_classes_below_the_picture():
    picture = np.full((200, 320, 3), 100, np.uint8)
    names = [f"a rather long name {n}" for n in range(8)]
    shown = add_legend(picture, names, {7, 3, 2})
    assert (shown[:200] == picture).all()
    assert shown.shape[1] == 320
    strip = shown[200:]
    found = [(strip == class_colour(n)).all(axis=2).any() for n in range(8)]
    assert found == [n in {2, 3, 7} for n in range(8)]
    assert add_legend(picture, names, set()) is picture


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
