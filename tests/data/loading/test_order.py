"""Batches of an epoch, held against torchvision's rule for the groups."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import pytest

from transferflow.data.loading.order import EpochBatches, aspect_groups, batches_in_epoch, epoch_order
from transferflow.data.loading.shares import Share

SIZES = [(100, 100 + 37 * (n % 19)) if n % 3 else (90 + 50 * (n % 11), 60) for n in range(101)]


def test_shapes_are_told_apart_as_in_torchvisions_reference_code():
    """references/detection/group_by_aspect_ratio.py with k = 3; ours goes on beyond 2:1."""
    bins = (2 ** np.linspace(-1, 1, 2 * 3 + 1)).tolist()
    theirs = [bisect_right(bins, width / height) for height, width in SIZES]
    ours = aspect_groups(SIZES)
    for mine, other in zip(ours.tolist(), theirs, strict=True):
        assert other == min(max(mine - 6, 0), 7)
    assert aspect_groups([(800, 100), (1700, 100)]).tolist() == [1, 0]


@pytest.mark.parametrize("batch_size", [1, 4, 5, 7])
def test_each_image_is_seen_once_in_batches_of_like_shape(batch_size):
    groups = aspect_groups(SIZES)
    batches = epoch_order(len(SIZES), batch_size, 3, 1, groups)
    plain = epoch_order(len(SIZES), batch_size, 3, 1)
    assert [len(b) for b in batches] == [len(b) for b in plain]
    assert len(batches) == batches_in_epoch(len(SIZES), batch_size, train=True)
    seen = np.concatenate(batches)
    assert sorted(seen) == sorted(np.concatenate(plain))
    assert len(set(seen.tolist())) == len(seen)
    mixed = [b for b in batches if len(set(groups[b].tolist())) > 1]
    most = len(set(groups.tolist())) * (batch_size - 1)  # what can be left over of all groups
    assert len(mixed) <= -(-most // batch_size)


def test_the_order_is_a_function_of_seed_and_epoch_and_shared_by_all_ranks():
    groups = aspect_groups(SIZES)

    def orders(seed, epoch):
        return [b.tolist() for b in epoch_order(len(SIZES), 4, seed, epoch, groups)]

    assert orders(0, 1) == orders(0, 1)
    assert orders(0, 1) != orders(0, 2)
    assert orders(0, 1) != orders(1, 1)
    shares = []
    for rank in range(2):
        plan = EpochBatches(len(SIZES), 4, 0, shuffle=True, share=Share(rank, 2), groups=groups)
        plan.epoch = 1
        shares.append([[place for _, place in keys] for keys in plan])
    together = [a + b for a, b in zip(*shares, strict=True)]
    assert together == orders(0, 1)
