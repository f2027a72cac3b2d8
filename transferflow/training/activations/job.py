"""A train job whose frozen part is computed once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.data.loading.loader import Loader
from transferflow.training.activations.cache import CachedLoader
from transferflow.training.activations.decide import Setting, decide_views, planned_epochs
from transferflow.training.activations.frozen import FrozenPart
from transferflow.training.activations.room import Room
from transferflow.training.device import pick_device
from transferflow.training.job import LoopSettings, Losses, TrainJob
from transferflow.training.loop.build import arithmetic_of


@dataclass(frozen=True)
class _Epochs:
    """Epochs for one model, which the loop has put into the state that holds for the epoch."""

    model: nn.Module
    images: Loader
    cached: CachedLoader

    def __len__(self) -> int:
        return len(self.images)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """See `EpochLoader`."""
        found = self.cached.batches(self.model, number, first)
        return self.images.epoch(number, first) if found is None else found


def cache_activations(job: TrainJob, images: Loader, room: Room, setting: Setting) -> TrainJob:
    """Return a job that takes the same steps, and computes nothing frozen twice.

    Args:
        job: The job as it would run on images.
        images: Its training loader.
        room: Where activations are kept.
        setting: What the spec says.
    """
    if images.keeps_shape:
        return job
    frozen = build_frozen_part(job.settings, images)

    def losses(model: nn.Module, batch: Batch) -> Losses:
        with frozen.ready(model, batch):
            return job.losses(model, batch)

    views = decide_views(setting, is_varied=images.dataset.is_varied, mixes=images.mixes)
    if views is None:
        return replace(job, losses=losses)
    lasts = partial(planned_epochs, job.freeze, epochs=job.settings.epochs)
    cached = CachedLoader(images, room, frozen, views=views, lasts=lasts)
    return replace(job, train_loader=_Epochs(job.model, images, cached), losses=losses)


def build_frozen_part(settings: LoopSettings, images: Loader) -> FrozenPart:
    """What a model is to compute of a loader's images without being trained."""
    device = pick_device(settings.device)
    return FrozenPart(images.shape, arithmetic_of(settings, device), device)
