"""How a batch is dealt out: every image once, and nobody is left with nothing to do."""

import itertools

import pytest

from transferflow.data.loading.order import EpochBatches
from transferflow.data.loading.shares import Share


def dealt(images, full, of):
    return [Share(number, of).part(images, full) for number in range(of)]


@pytest.mark.parametrize(("full", "of"), itertools.product((1, 2, 3, 8, 32), (1, 2, 3, 7)))
def test_every_image_counts_once_in_order_and_sizes_differ_by_one(full, of):
    for images in range(1, full + 1):
        shares = dealt(images, full, of)
        counted = [list(range(images))[part] for part, counts in shares if counts]
        assert [image for part in counted for image in part] == list(range(images))
        sizes = [len(part) for part in counted]
        assert max(sizes) - min(sizes) <= 1
        assert all(len(range(images)[part]) > 0 for part, _ in shares)  # who does not count computes too


@pytest.mark.parametrize(("images", "sizes"), [(8, [2, 2, 2, 2]), (7, [2, 2, 3]), (3, [3]), (1, [1])])
def test_a_small_batch_leaves_nobody_a_single_image(images, sizes):
    """Batch norm can't train on one; the others take part with images that count nothing."""
    shares = dealt(images, 8, 4)
    assert [len(range(images)[part]) for part, counts in shares if counts] == sizes
    assert [counts for _, counts in shares] == [True] * len(sizes) + [False] * (4 - len(sizes))


def test_one_image_each_where_full_batches_have_no_more():
    assert [len(range(4)[part]) for part, _ in dealt(4, 4, 4)] == [1, 1, 1, 1]


@pytest.mark.parametrize(("batches", "of"), [(5, 2), (1, 3), (0, 2), (7, 7)])
def test_runs_of_batches_follow_each_other(batches, of):
    runs = [Share(number, of).run(batches) for number in range(of)]
    assert [number for first, end in runs for number in range(first, end)] == list(range(batches))


def test_batches_are_the_same_for_any_number_and_shares_make_them_up():
    whole = EpochBatches(23, 8, seed=3, shuffle=True)
    assert [len(keys) for keys in whole] == [8, 8, 7]
    parts = [EpochBatches(23, 8, seed=3, shuffle=True, share=Share(number, 3)) for number in range(3)]
    for batches in (whole, *parts):
        batches.epoch, batches.first = 4, 1
    together = [list(itertools.chain(*keys)) for keys in zip(*parts, strict=True)]
    assert together == list(whole) == list(whole.of(4))[1:]
    assert [part.counts(2) for part in parts] == [True, True, True]


def test_an_epoch_ends_before_a_batch():
    batches = EpochBatches(10, 4, seed=0, shuffle=False)
    batches.first, batches.end = 1, 2
    assert list(batches) == [[(0, 4), (0, 5), (0, 6), (0, 7)]]
