"""A batch in parts that fit into memory, whose gradients add up to those of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.models.layers import is_batch_norm
from transferflow.training.job import LossCounts
from transferflow.training.ranks import Ranks


def decide_micro_batch(images: int, *, least: int) -> int | None:
    """Half as many images at a time; `None` if that would be fewer than `least`."""
    half = -(-images // 2)
    return half if least <= half < images else None


def least_micro_batch(model: nn.Module) -> int:
    """Images that must be computed together: batch norm that trains can't do with one."""
    return 2 if trains_batch_norm(model) else 1


def trains_batch_norm(model: nn.Module) -> bool:
    """Whether a batch norm normalises by what it is shown."""
    return any(is_batch_norm(module) and module.training for module in model.modules())


def joins_batch_norm(model: nn.Module) -> bool:
    """Whether a batch norm normalises by what all devices are shown, for which they compute in step."""
    return any(isinstance(module, nn.SyncBatchNorm) and module.training for module in model.modules())


def split_batch(batch: Batch, most: int | None) -> list[Batch]:
    """Parts of nearly equal size, in order, none of more than `most` images."""
    parts = 1 if most is None else -(-len(batch) // most)
    edges = [len(batch) * number // parts for number in range(parts + 1)]
    return [batch[first:end] for first, end in pairwise(edges)]


@dataclass(frozen=True)
class Counted:
    """What a batch holds, on all devices together.

    Attributes:
        images: Images.
        means: What each loss is a mean over, where that is not images.
    """

    images: int
    means: Mapping[str, float]


def count_batch(batch: Batch, counts: LossCounts, ranks: Ranks) -> Counted:
    """Count the whole batch, of which this process has a share."""
    weight, mine = float(batch.counts), counts(batch)
    images, *means = ranks.total([weight * len(batch), *(weight * mean for mean in mine.values())])
    return Counted(round(images), dict(zip(mine, means, strict=True)))


def loss_shares(
    part: Batch, whole: Counted, names: tuple[str, ...], counts: LossCounts
) -> Mapping[str, float]:
    """What part of each loss of the whole batch that of a part makes up: means become the mean of all.

    Args:
        part: Some images of the batch.
        whole: The batch.
        names: Names of the losses.
        counts: What each loss is a mean over, where that is not images.
    """
    if not part.counts:
        return dict.fromkeys(names, 0.0)
    mine, images = counts(part), len(part) / whole.images
    return {
        name: mine[name] / whole.means[name] if whole.means.get(name, 0.0) > 0 else images for name in names
    }
