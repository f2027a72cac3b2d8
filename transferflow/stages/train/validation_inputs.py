"""Validation images between epochs: through the activation cache, in the arithmetic of training."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.stages.split_images import SplitImages
from transferflow.tasks.base import PredictionInputs
from transferflow.training.activations.cache import CachedLoader
from transferflow.training.activations.decide import Setting
from transferflow.training.activations.frozen import FrozenPart
from transferflow.training.activations.job import build_frozen_part
from transferflow.training.activations.room import Room
from transferflow.training.device import Arithmetic, pick_device
from transferflow.training.job import FreezeSchedule, LoopSettings
from transferflow.training.loop.build import arithmetic_of


@dataclass(frozen=True)
class ValidationInputs:
    """What a task needs to predict the validation images with the model that is trained.

    Attributes:
        images: The validation split.
        trained: The model that is trained; what is measured may be its moving average.
        frozen: What computes the frozen part; `None`: images have their own shapes, and the model does.
        cached: Gives activations in place of images; `None`: none are kept.
        arithmetic: Precision and layout of the forward pass.
        device: Where the model is.
    """

    images: SplitImages
    trained: nn.Module
    frozen: FrozenPart | None
    cached: CachedLoader | None
    arithmetic: Arithmetic
    device: torch.device

    def inputs(self, model: nn.Module, folder: Path, batches: tuple[int, int]) -> PredictionInputs:
        """Inputs for a model in eval mode on its device.

        Args:
            model: The model that is trained, or its moving average.
            folder: Where large arrays (masks) go.
            batches: First and end of the batches to predict.
        """
        images = self.images.inputs(self.images.snapshot.classes, folder, batches)
        found = None
        is_shared = _shares_frozen_part(model, self.trained)
        if self.cached is not None:
            if is_shared:
                found = self.cached.batches(model, 0, *batches)
            else:
                self.cached.forget()
        return replace(images, ask=self.ask, batches=images.batches if found is None else found)

    def ask(self, model: nn.Module, batch: Batch) -> Any:  # noqa: ANN401 - as the model nests its outputs
        """A model's outputs for a batch."""
        here = batch.to(self.device, self.arithmetic.memory_format)
        playing = nullcontext() if self.frozen is None else self.frozen.ready(model, here)
        with playing, self.arithmetic.forward_pass(self.device):
            return model(here.shown)


def _shares_frozen_part(model: nn.Module, trained: nn.Module) -> bool:
    """Whether a moving average has what is frozen now from the start; it then gets the same `requires_grad`.

    An average moves on for a while after its model has been frozen.
    """
    if model is trained:
        return True
    both = list(zip(model.parameters(), trained.parameters(), strict=True))
    for average, parameter in both:
        average.requires_grad_(parameter.requires_grad)
    if not all(p.requires_grad or torch.equal(average, p) for average, p in both):
        return False
    pairs = zip(model.modules(), trained.modules(), strict=True)
    return all(
        torch.equal(mine, its)
        for average, module in pairs
        if not module.training
        for mine, its in zip(average.buffers(recurse=False), module.buffers(recurse=False), strict=True)
    )


def build_validation_inputs(
    images: SplitImages,
    model: nn.Module,
    freeze: FreezeSchedule,
    settings: LoopSettings,
    room: Room,
    setting: Setting,
) -> ValidationInputs:
    """Bind the validation split to a model and its arithmetic.

    Args:
        images: The validation split.
        model: The model that is trained.
        freeze: Its freeze schedule: activations are kept where a phase lasts more than one epoch.
        settings: Device and precision.
        room: Where activations are kept.
        setting: What the spec says of the activation cache.
    """
    device = pick_device(settings.device)
    starts = [*(phase.first_epoch for phase in freeze.phases), settings.epochs]
    longest = max(end - start for start, end in pairwise(starts))
    arithmetic = arithmetic_of(settings, device)
    if images.loader.keeps_shape:
        return ValidationInputs(images, model, None, None, arithmetic, device)
    frozen, cached = build_frozen_part(settings, images.loader), None
    if setting != "off":
        cached = CachedLoader(images.loader, room, frozen, views=1, lasts=lambda epoch: longest)
    return ValidationInputs(images, model, frozen, cached, arithmetic, device)
