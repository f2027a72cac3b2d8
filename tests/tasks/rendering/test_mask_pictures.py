import math

import numpy as np
import pytest

from transferflow.tasks.rendering.drawing import draw_mask
from transferflow.tasks.rendering.mask_pictures import picture_masks

IMAGE = np.full((24, 30), 200, np.uint8)
IGNORE = 255


def pictured(truth, predicted, overlap=0.5):
    return picture_masks(IMAGE, truth, predicted, ignore_index=IGNORE, overlap=overlap, image_id="a.png")


def test_pixels_that_do_not_count_are_hatched_in_both_masks():
    truth = np.zeros(IMAGE.shape, np.uint8)
    truth[:, 20:] = IGNORE
    predicted = np.zeros_like(truth)
    predicted[:, 15:] = 1
    picture = pictured(truth, predicted)
    assert [panel.label for panel in picture.panels] == [
        "image",
        "truth (hatched: ignored)",
        "prediction",
    ]
    assert picture.title == "mean IoU 0.500"
    for panel, mask in zip(picture.panels[1:], (truth, predicted), strict=True):
        changed = (panel.image != draw_mask(IMAGE, mask, (0, IGNORE))).any(axis=2)
        assert not changed[:, :20].any()
        assert changed[:, 20:].mean() == pytest.approx(1 / 3, abs=0.05)


def test_masks_that_count_everywhere_have_no_stripes():
    truth = np.eye(24, 30, dtype=np.uint8)
    picture = pictured(truth, truth)
    assert picture.panels[1].label == "truth"
    assert np.array_equal(picture.panels[1].image, draw_mask(IMAGE, truth))


def test_an_image_where_nothing_counts_says_so():
    truth = np.full(IMAGE.shape, IGNORE, np.uint8)
    assert pictured(truth, truth * 0, math.nan).title == "no labelled pixel"
