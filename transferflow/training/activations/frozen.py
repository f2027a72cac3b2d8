"""The frozen part that a model begins with: computed alike in each step and once for all."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from math import ceil

import torch
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.models.cut.cut import Cut, Uncut
from transferflow.models.cut.folding import folded
from transferflow.models.cut.run import Activations, compute_prefix, played_back
from transferflow.training.activations.decide import bytes_of, decide_pays
from transferflow.training.activations.point import PointFinder
from transferflow.training.device import Arithmetic

_PIXELS_AT_ONCE, _LEAST_AT_ONCE = 8 * 224 * 224, 4
"""Of images that are computed together; raise the version in `point` with it."""


class FrozenPart:
    """Computes a model up to its freeze boundary, and lets it go on from there.

    Batch norm is folded there, whether activations are kept or computed in each step: a cache changes no
    result. The fold is made anew each time, out of the tensors that the freeze proof is about: it takes a
    few milliseconds, and no second copy of the weights stays.
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
        size, count = self._images_at_once(shown), len(shown)
        lacking = -count % size
        if lacking:  # parts of one size are computed by the same kernels
            shown = torch.cat([shown, *[shown[-1:]] * lacking])
        with self.arithmetic.forward_pass(self.device), folded(model, cut.folds):
            parts = [compute_prefix(cut, model, part) for part in shown.split(size)]
        if len(parts) == 1:
            return parts[0]
        return tuple(torch.cat(each)[:count] for each in zip(*parts, strict=True))

    def ready(self, model: nn.Module, batch: Batch) -> AbstractContextManager[None]:
        """Let a model begin with a batch's activations, if it has any, else with its images.

        Args:
            model: As its modes and `requires_grad` stand.
            batch: On the model's device.
        """
        cut = self.finder.cut(model)
        if isinstance(cut, Uncut):
            return nullcontext()
        if batch.activations:
            return played_back(cut, model, batch.activations)
        is_in_parts = self._images_at_once(batch.images) < len(batch)
        if is_in_parts and decide_pays(cut, bytes_of(cut, batch.images.itemsize), self.device.type):
            return played_back(cut, model, self.compute(model, cut, batch.images))
        return folded(model, cut.folds)

    def _images_at_once(self, images: Tensor) -> int:
        """Images of a batch that are computed together, in parts of one size: of large ones, a few on a CPU.

        What they take of its memory is small then, and it computes as fast. In bf16, and on a GPU, all of
        them: with each part the weights are converted anew, or a GPU waits.
        """
        count, (height, width) = len(images), images.shape[-2:]
        if self.device.type != "cpu" or self.arithmetic.precision != "fp32":
            return count
        most = max(_LEAST_AT_ONCE, _PIXELS_AT_ONCE // (height * width))
        return ceil(count / ceil(count / most))
