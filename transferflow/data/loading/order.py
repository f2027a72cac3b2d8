"""The images of an epoch in batches: a pure function of the seed, the epoch and their shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from transferflow.data.loading.dataset import Key
from transferflow.data.loading.shares import WHOLE, Share
from transferflow.spec.sections.size import Size

_WIDEST, _STEPS = 3, 3
"""Doublings of the aspect ratio up to which shapes are told apart, and groups in each doubling."""


def batches_in_epoch(images: int, batch_size: int, *, train: bool) -> int:
    """Batches that an epoch has.

    Batch norm can't train on one image: training leaves out a last batch of one. The order changes, so
    each epoch leaves out another image.
    """
    leaves_out = train and images > 1 and images % batch_size == 1
    return -(-images // batch_size) - leaves_out


def aspect_groups(sizes: Sequence[Size]) -> NDArray[np.int64]:
    """Number of the group of like shapes that each image belongs to, from tall to wide.

    Three groups in each doubling of width over height, as in torchvision's reference code; those beyond 8:1
    and 1:8 belong together.
    """
    ratios = np.array([width / height for height, width in sizes], np.float64)
    bounds = 2 ** np.linspace(-_WIDEST, _WIDEST, 2 * _WIDEST * _STEPS + 1)
    return np.searchsorted(bounds, ratios, side="right").astype(np.int64)


def epoch_order(
    images: int, batch_size: int, seed: int, epoch: int, groups: NDArray[np.int64] | None = None
) -> list[NDArray[np.int64]]:
    """Images of each batch of a training epoch, drawn anew in each; the last batch may be smaller.

    With groups, a batch holds images of one group as long as there are enough; what is left of all groups
    stands in the last batches, sorted by group. The number of batches is the same with and without.

    Args:
        images: How many there are.
        batch_size: Images of a full batch.
        seed: Of the order.
        epoch: From 0.
        groups: Group of each image, see `aspect_groups`.
    """
    order = np.random.default_rng((seed, epoch)).permutation(images)
    order = order[: batches_in_epoch(images, batch_size, train=True) * batch_size]
    if groups is not None:
        order = _by_group(order, batch_size, groups)
    return [order[first : first + batch_size] for first in range(0, len(order), batch_size)]


def _by_group(order: NDArray[np.int64], batch_size: int, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same images: full batches of one group as they fill up, then the rest."""
    waiting: dict[int, list[int]] = {}
    found: list[int] = []
    for image in order.tolist():
        group = waiting.setdefault(int(groups[image]), [])
        group.append(image)
        if len(group) == batch_size:
            found += group
            group.clear()
    left = [image for _, group in sorted(waiting.items()) for image in group]
    return np.array(found + left, np.int64)


class EpochBatches(Sampler[list[Key]]):
    """Which images stand in which batch; set `epoch`, `first` and `end` (of the batches) before iterating.

    What is iterated over is this process's share of each batch.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        seed: int,
        *,
        shuffle: bool,
        share: Share = WHOLE,
        groups: NDArray[np.int64] | None = None,
    ) -> None:
        """Plan the batches; with `groups`, images of one group stand together, see `epoch_order`."""
        self.epoch = self.first = 0
        self.end: int | None = None
        self.images, self.batch_size = images, batch_size
        self._seed, self._shuffle = seed, shuffle
        self._share = share
        self._groups = groups

    def __len__(self) -> int:
        return batches_in_epoch(self.images, self.batch_size, train=self._shuffle)

    def __iter__(self) -> Iterator[list[Key]]:
        for keys in islice(self.of(self.epoch), self.first, self.end):
            yield keys[self._share.part(len(keys), self.batch_size)[0]]

    def counts(self, number: int) -> bool:
        """Whether the images of this process's share of a batch count, see `Share.part`."""
        images = min(self.batch_size, self.images - number * self.batch_size)
        return self._share.part(images, self.batch_size)[1]

    def of(self, epoch: int) -> Iterator[list[Key]]:
        """Whole batches of one epoch."""
        if self._shuffle:
            for places in epoch_order(self.images, self.batch_size, self._seed, epoch, self._groups):
                yield [(epoch, int(place)) for place in places]
            return
        for first in range(0, self.images, self.batch_size):
            yield [(epoch, place) for place in range(first, min(first + self.batch_size, self.images))]
