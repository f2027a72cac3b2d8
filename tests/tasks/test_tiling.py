import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferflow.tasks.tiling import (
    Tile,
    TileBoxes,
    decide_tiles,
    edge_margin,
    merge_tile_boxes,
    merge_tile_masks,
    shape_tile,
)

sides = st.integers(1, 400)


@settings(max_examples=200, deadline=None)
@given(sides, sides, st.integers(2, 128), st.integers(2, 128), st.sampled_from([0, 0.1, 0.25, 0.5, 0.99]))
def test_tiles_cover_the_image_and_overlap(width, height, rows, columns, share):
    tiles = decide_tiles(width, height, (rows, columns), share)
    covered = np.zeros((height, width), int)
    for tile in tiles:
        assert tile.left >= 0
        assert tile.top >= 0
        assert tile.left + tile.width <= width
        assert tile.top + tile.height <= height
        assert (tile.width, tile.height) == (min(columns, width), min(rows, height))
        covered[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] += 1
    assert covered.min() >= 1
    for starts, side in (({t.left for t in tiles}, columns), ({t.top for t in tiles}, rows)):
        most = max(1, side - round(side * share))
        assert all(b - a <= most for a, b in itertools.pairwise(sorted(starts)))


def test_a_tile_has_the_shape_that_the_model_sees():
    assert shape_tile(1024, (384, 640)) == (614, 1024)
    assert shape_tile(1024, (256, 256)) == (1024, 1024)
    assert edge_margin(Tile(0, 0, 1024, 614), (384, 640)) == pytest.approx(2 * 1024 / 640)


def test_an_overlap_as_large_as_the_tile_is_refused():
    with pytest.raises(ValueError, match="overlap"):
        decide_tiles(100, 100, (32, 32), 1.0)


def found(tile, boxes, scores, labels=None):
    return TileBoxes(
        tile,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels or [0] * len(scores), np.int64),
    )


LEFT, RIGHT = Tile(0, 0, 100, 100), Tile(60, 0, 100, 100)


def test_an_object_seen_twice_is_kept_once():
    boxes, scores, labels = merge_tile_boxes(
        [found(LEFT, [[65, 10, 85, 30]], [0.8]), found(RIGHT, [[5, 11, 25, 31]], [0.9])], 160, 100, 0.5, 1
    )
    assert boxes.tolist() == [[65, 11, 85, 31]]
    assert scores.tolist() == pytest.approx([0.9])
    assert labels.tolist() == [0]


def test_a_part_at_the_tiles_edge_yields_to_the_whole():
    # The left tile sees 20 of the object's 50 columns, with the higher score.
    boxes, scores, _ = merge_tile_boxes(
        [found(LEFT, [[80, 10, 100, 60]], [0.95]), found(RIGHT, [[20, 10, 70, 60]], [0.6])], 160, 100, 0.5, 1
    )
    assert boxes.tolist() == [[80, 10, 130, 60]]
    assert scores.tolist() == pytest.approx([0.6])


@pytest.mark.parametrize(("tile", "size", "margin"), [(1024, 256, 8), (512, 512, 2), (64, 640, 1)])
def test_how_near_an_edge_a_part_ends_is_told_in_the_models_pixels(tile, size, margin):
    assert edge_margin(Tile(0, 0, tile, tile // 2), (size, size)) == margin


def test_a_part_that_ends_a_model_pixel_before_the_edge_yields_too():
    left, right = Tile(0, 0, 1024, 1024), Tile(768, 0, 1024, 1024)
    part = found(left, [[900, 100, 1020, 300]], [0.95])
    whole = found(right, [[132, 100, 432, 300]], [0.6])
    boxes, _, _ = merge_tile_boxes([part, whole], 1792, 1024, 0.5, edge_margin(left, (256, 256)))
    assert boxes.tolist() == [[900, 100, 1200, 300]]
    boxes, _, _ = merge_tile_boxes([part, whole], 1792, 1024, 0.5, edge_margin(left, (1024, 1024)))
    assert len(boxes) == 2


def test_a_box_at_the_images_own_edge_is_whole():
    boxes, _, _ = merge_tile_boxes(
        [found(LEFT, [[0, 0, 30, 30]], [0.9]), found(RIGHT, [[70, 70, 100, 100]], [0.9])], 160, 100, 0.5, 1
    )
    assert len(boxes) == 2


def test_other_classes_do_not_suppress():
    boxes, _, labels = merge_tile_boxes(
        [found(LEFT, [[65, 10, 85, 30]], [0.8], [1]), found(RIGHT, [[5, 10, 25, 30]], [0.9], [0])],
        160,
        100,
        0.5,
        1,
    )
    assert len(boxes) == 2
    assert labels.tolist() == [0, 1]


@pytest.mark.parametrize("tiles", [[], [found(LEFT, [], [])]])
def test_nothing_found_is_nothing(tiles):
    boxes, scores, labels = merge_tile_boxes(tiles, 160, 100, 0.5, 1)
    assert boxes.shape == (0, 4)
    assert len(scores) == len(labels) == 0


def test_one_tile_is_plain_nms_as_torchvision_does_it():
    import torch
    from torchvision.ops import batched_nms

    generator = np.random.default_rng(0)
    corners = generator.uniform(5, 60, (60, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(5, 30, (60, 2))], 1).astype(np.float32)
    scores = generator.permutation(60).astype(np.float32) / 60
    labels = generator.integers(0, 2, 60)
    mine, kept, _ = merge_tile_boxes(
        [TileBoxes(Tile(0, 0, 100, 100), boxes, scores, labels)], 100, 100, 0.4, 1
    )
    keep = batched_nms(*map(torch.from_numpy, (boxes, scores, labels)), 0.4).numpy()
    np.testing.assert_allclose(mine, boxes[keep])
    np.testing.assert_allclose(kept, scores[keep])


def test_masks_take_each_pixel_from_the_tile_where_it_lies_deepest():
    left, right = np.zeros((100, 100), np.uint8), np.ones((100, 100), np.uint8)
    mask = merge_tile_masks([(LEFT, left), (RIGHT, right)], 160, 100)
    assert mask.shape == (100, 160)
    assert (mask[:, :79] == 0).all()
    assert (mask[:, 81:] == 1).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(20, 150), st.integers(20, 150))
def test_tiles_of_a_mask_give_the_mask_back(width, height):
    whole = np.random.default_rng(0).integers(0, 5, (height, width)).astype(np.uint8)
    tiles = decide_tiles(width, height, (40, 30), 0.3)
    parts = [(t, whole[t.top : t.top + t.height, t.left : t.left + t.width]) for t in tiles]
    assert (merge_tile_masks(parts, width, height) == whole).all()
