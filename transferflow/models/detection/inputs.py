"""Adapters between our batches and torchvision's detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform

Detections = list[dict[str, Tensor]]


class PreparedInput(nn.Module):
    """Takes the place of torchvision's own transform: images come normalised and rescaled already.

    Args:
        divisor: Images are padded with zeros at the bottom and the right until their sides divide by it.
        labels: Numbers that a published detector gives to the classes that it is asked for, in their order;
            boxes of others are left out. `None`: it knows these classes alone.
        first: Number of the first class in what is answered.
    """

    def __init__(self, divisor: int = 32, labels: Sequence[int] | None = None, first: int = 0) -> None:
        super().__init__()
        self.divisor = divisor
        self._labels = labels
        self._first = first
        self._padding = GeneralizedRCNNTransform(0, 0, [], [])

    def forward(
        self, images: Sequence[Tensor], targets: Detections | None = None
    ) -> tuple[ImageList, Detections | None]:
        """Stack images (each C x H x W), padded where their sizes differ."""
        if self.training:
            # torchvision draws a size per image. Drawing too keeps the random samples that follow in step
            # with those of its own model under the same seed.
            torch.rand(len(images), 1)
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        if len(set(sizes)) == 1:
            return ImageList(self.pad(torch.stack(list(images))), sizes), targets
        return ImageList(self._padding.batch_images(list(images), self.divisor), sizes), targets

    def pad(self, images: Tensor) -> Tensor:
        """Pad a batch (B x C x H x W) at the bottom and the right."""
        height, width = images.shape[-2:]
        return F.pad(images, (0, -width % self.divisor, 0, -height % self.divisor))

    def postprocess(
        self, result: Detections, image_shapes: object, original_image_sizes: object
    ) -> Detections:
        """Boxes are in pixels of the given images already; their labels become those that are asked for."""
        if self._labels is None:
            return result
        return [self._of_asked(found) for found in result]

    def _of_asked(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        asked = torch.tensor(self._labels or (), device=found["labels"].device)
        is_asked = found["labels"][:, None] == asked
        kept = is_asked.any(1)
        chosen = {name: value[kept] for name, value in found.items()}
        return chosen | {"labels": is_asked[kept].long().argmax(1) + self._first}


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
