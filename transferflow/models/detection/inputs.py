"""Adapters between our batches and torchvision's detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

Detections = list[dict[str, Tensor]]


class PreparedInput(nn.Module):
    """Takes the place of torchvision's own transform: images come normalised and of one size already.

    Args:
        divisor: Images are padded with zeros at the bottom and the right until their sides divide by it.
    """

    def __init__(self, divisor: int = 32) -> None:
        super().__init__()
        self.divisor = divisor

    def forward(
        self, images: Sequence[Tensor], targets: Detections | None = None
    ) -> tuple[ImageList, Detections | None]:
        """Stack images (each C x H x W, all of one size)."""
        batch = torch.stack(list(images))
        if self.training:
            # torchvision draws a size per image. Drawing too keeps the random samples that follow in step
            # with those of its own model under the same seed.
            torch.rand(len(batch), 1)
        height, width = batch.shape[-2:]
        return ImageList(self.pad(batch), [(height, width)] * len(batch)), targets

    def pad(self, images: Tensor) -> Tensor:
        """Pad a batch (B x C x H x W) at the bottom and the right."""
        height, width = images.shape[-2:]
        return F.pad(images, (0, -width % self.divisor, 0, -height % self.divisor))

    def postprocess(
        self, result: Detections, image_shapes: object, original_image_sizes: object
    ) -> Detections:
        """Boxes are in pixels of the batch image already."""
        return result


def apply_float32_outputs(*modules: nn.Module) -> None:
    """Let modules give float32 whatever autocast computes in: torchvision decodes boxes in their type.

    In bf16 a coordinate above 256 is off by up to two pixels.
    """
    for module in modules:
        module.register_forward_hook(_cast_outputs)


def _cast_outputs(module: nn.Module, inputs: object, outputs: object) -> object:
    return _float32(outputs)


def _float32(value: object) -> object:
    if isinstance(value, Tensor):
        return value.float()
    if isinstance(value, Mapping):
        return {key: _float32(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_float32(item) for item in value)
    if isinstance(value, list):
        return [_float32(item) for item in value]
    return value


def to_torchvision_targets(targets: Detections, background: bool) -> Detections:
    """Boxes and labels as the detector counts them, without boxes that have no area.

    Args:
        targets: Per image `boxes` (N x 4) and `labels` (first class 0).
        background: Whether the detector's class 0 is the background (Faster R-CNN).
    """
    found = []
    for target in targets:
        boxes = target["boxes"]
        keep = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        found.append({"boxes": boxes[keep], "labels": target["labels"][keep] + int(background)})
    return found
