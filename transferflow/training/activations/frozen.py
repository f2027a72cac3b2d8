"""The frozen part that a model begins with, in its own arithmetic, whether or not anything is cached."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.models.cut.cut import Cut, Uncut
from transferflow.models.cut.run import Activations, compute_prefix, played_back
from transferflow.training.activations.point import PointFinder
from transferflow.training.device import Arithmetic


class FrozenPart:
    """Computes a model up to its freeze boundary, and lets it go on from there.

    Cached or computed in each step, activations come out of the same arithmetic, so that a cache changes no
    result.
    """

    def __init__(self, shape: tuple[int, int, int], arithmetic: Arithmetic, device: torch.device) -> None:
        """Nothing is looked at yet.

        Args:
            shape: Channels, rows and columns of the images.
            arithmetic: Precision and layout.
            device: Where the model is.
        """
        self.arithmetic = arithmetic
        self.device = device
        self.finder = PointFinder(shape)

    def compute(self, model: nn.Module, cut: Cut, images: Tensor) -> Activations:
        """Activations of images (B x C x H x W, normalised) at a cut of the model."""
        shown = images.to(self.device, memory_format=self.arithmetic.memory_format)
        dtype = self.arithmetic.frozen_dtype
        with torch.autocast(self.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            return compute_prefix(cut, model, shown)

    def ready(self, model: nn.Module, batch: Batch) -> AbstractContextManager[None]:
        """Let a model begin with a batch's activations, which are computed now if it has images.

        Args:
            model: As its modes and `requires_grad` stand, in the arithmetic of training within the block.
            batch: On the model's device.
        """
        is_alike = self.arithmetic.frozen == self.arithmetic.precision
        if is_alike and not batch.activations:
            return nullcontext()  # the model itself computes the same
        cut = self.finder.cut(model)
        if isinstance(cut, Uncut):
            return nullcontext()
        found = batch.activations or self.compute(model, cut, batch.images)
        return played_back(cut, model, found if is_alike else tuple(_as_trained(tensor) for tensor in found))


def _as_trained(activations: Tensor) -> Tensor:
    """What trains computes in fp32 wherever the frozen part computes in something else."""
    return activations.float() if activations.is_floating_point() else activations
