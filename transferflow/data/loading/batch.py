"""What a loader gives to the training loop and to prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from transferflow.spec.sections.size import Size

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Batch:
    """One mini-batch.

    Attributes:
        images: float32, B x C x H x W, normalised; a loader gives them on its device, targets on the CPU.
        targets: Classification: int64 of shape B (or float32 B x classes when multilabel or mixed);
            regression: float32 of shape B;
            segmentation: uint8 B x H x W; detection: a dict per image with `boxes` (float32 N x 4,
            x_min y_min x_max y_max in pixels of the batch image) and `labels` (int64 N, first class 0).
        ids: Record id of each image.
        counts: Whether its images count; `False`: another process has them too, see `Share.part`.
        activations: What a frozen part of the model has computed of the images (B x …, each), in place of
            `images`, which then have a shape and no pixels; nothing where the model begins with the images.
        sizes: Height and width of each image within `images`, where they differ: the rest is padding.
    """

    images: Tensor
    targets: Tensor | list[dict[str, Tensor]]
    ids: tuple[str, ...]
    counts: bool = True
    activations: tuple[Tensor, ...] = ()
    sizes: tuple[Size, ...] = ()

    @property
    def shown(self) -> Tensor | list[Tensor]:
        """What a model is given: B x C x H x W, or each image (C x H x W) in its own size."""
        if not self.sizes:
            return self.images
        return [
            image[:, :height, :width] for image, (height, width) in zip(self.images, self.sizes, strict=True)
        ]

    def to(self, device: torch.device, memory_format: torch.memory_format = torch.contiguous_format) -> Batch:
        """Return the batch on `device`; cached features, which are B x F, have no layout of channels."""
        if self.activations:
            images = torch.zeros((), device=device).expand(self.images.shape)
        else:
            layout = memory_format if self.images.ndim == 4 else torch.contiguous_format
            images = self.images.to(device, non_blocking=True, memory_format=layout)
        if isinstance(self.targets, Tensor):
            targets: Tensor | list[dict[str, Tensor]] = self.targets.to(device, non_blocking=True)
        else:
            targets = [{k: v.to(device, non_blocking=True) for k, v in t.items()} for t in self.targets]
        activations = tuple(tensor.to(device, non_blocking=True) for tensor in self.activations)
        return replace(self, images=images, targets=targets, activations=activations)

    def __getitem__(self, part: slice) -> Batch:
        """Some of its images."""
        return replace(
            self,
            images=self.images[part],
            targets=self.targets[part],
            ids=self.ids[part],
            activations=tuple(tensor[part] for tensor in self.activations),
            sizes=self.sizes[part],
        )

    def __len__(self) -> int:
        return len(self.ids)
