"""Features of a frozen backbone, computed once instead of in every epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.logs import get_logger
from transferflow.models.layers import LayerGroup
from transferflow.training.device import Arithmetic, pick_device
from transferflow.training.job import FreezeSchedule, Losses, TrainJob
from transferflow.training.loop.build import arithmetic_of

logger = get_logger("training")


class OrderedLoader(Protocol):
    """An epoch loader that can tell an epoch's order without reading an image."""

    def __len__(self) -> int: ...

    def epoch(self, number: int, first: int = 0) -> Iterable[Batch]:
        """Iterate over one epoch from batch `first` on."""
        ...

    def order(self, number: int) -> Iterable[tuple[str, ...]]:
        """Record ids of each batch of that epoch, in order."""
        ...


class CachedFeatures:
    """Epochs of features (`Batch.images` is float32 B x F) in the order that the images would have had.

    An image's features are computed in the first epoch, counted from 0, that holds it: a resumed training
    sees the same bits.
    """

    def __init__(self, backbone: nn.Module, loader: OrderedLoader, arithmetic: Arithmetic) -> None:
        self._backbone = backbone
        self._loader = loader
        self._arithmetic = arithmetic
        self._epochs_read = 0
        self._features: dict[str, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self._loader)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """Iterate over one epoch from batch `first` on; the first call computes all features."""
        order = [tuple(ids) for ids in self._loader.order(number)]
        self._fill({image for ids in order for image in ids})
        for ids in order[first:]:
            found = [self._features[image] for image in ids]
            features, targets = zip(*found, strict=True)
            yield Batch(torch.stack(features), torch.stack(targets), ids)

    def _fill(self, wanted: set[str]) -> None:
        if not self._features:
            logger.info("the backbone is frozen: computing its features once")
        while not wanted <= self._features.keys():
            for batch in self._loader.epoch(self._epochs_read):
                new = [place for place, image in enumerate(batch.ids) if image not in self._features]
                if new:
                    self._add(batch, new)
            self._epochs_read += 1

    @torch.no_grad()
    def _add(self, batch: Batch, places: Sequence[int]) -> None:
        """Compute a whole batch, as training would, and keep the features of some places."""
        if not isinstance(batch.targets, Tensor):
            raise TypeError("features are cached for targets that are tensors")
        device = next(self._backbone.parameters()).device
        images = batch.images.to(device, memory_format=self._arithmetic.memory_format)
        dtype = self._arithmetic.autocast_dtype
        self._backbone.eval()
        with torch.autocast(device.type, dtype) if dtype else nullcontext():
            features = self._backbone(images).float().cpu()
        for place in places:
            self._features[batch.ids[place]] = (features[place], batch.targets[place])


def decide_feature_cache(
    groups: Sequence[LayerGroup], freeze: FreezeSchedule, *, is_random: bool, epochs: int
) -> bool:
    """Whether every epoch would compute the same features.

    Args:
        groups: Layer groups of a model whose forward is `head(backbone(images))`.
        freeze: Freeze schedule.
        is_random: Whether training images are varied.
        epochs: Epochs of the training.
    """
    below_head = {group.name for group in groups if group.part != "head"}
    always_frozen = all(below_head <= phase.frozen for phase in freeze.phases)
    return always_frozen and freeze.batch_norm != "train" and not is_random and epochs > 1


def cache_features(
    job: TrainJob, loader: OrderedLoader, *, backbone: str = "backbone", head: str = "head"
) -> TrainJob:
    """Return a job that trains the same head on features computed once; ask `decide_feature_cache` first.

    Model, groups, rates, freeze proof and validation stay as they are.

    Args:
        job: The job as it would run on images.
        loader: Its training loader.
        backbone: Path of the submodule from images to features.
        head: Path of the submodule from features to outputs.
    """
    arithmetic = arithmetic_of(job, pick_device(job.settings.device))

    def losses(model: nn.Module, batch: Batch) -> Losses:
        return job.losses(model.get_submodule(head), batch)

    features = CachedFeatures(job.model.get_submodule(backbone), loader, arithmetic)
    return replace(job, train_loader=features, losses=losses)
