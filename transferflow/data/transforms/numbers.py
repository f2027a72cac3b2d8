"""From pixels of a batch to the numbers that a model computes with, on whatever device the pixels lie."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def normalize_pixels(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Map pixels to 0..1, subtract the mean and divide by the deviation.

    Nothing is moved: the result lies channels last, as pixels do. Mean and deviation are repeated along a row
    of the image, as a loop over three channels at a time takes twice as long, and a change of layout six
    times.

    Args:
        images: uint8, B x H x W x C.
        mean: Per channel, on the 0..1 scale.
        std: Per channel, on the 0..1 scale.

    Returns:
        float32, B x C x H x W, channels last, on the device of `images`.
    """
    width = images.shape[2]
    # Small numbers go to a GPU without waiting for what it computes.
    subtracted, divisor = (
        torch.tensor(values).to(images.device, non_blocking=True).repeat(width) for values in (mean, std)
    )
    rows = images.flatten(2).float().div_(255).sub_(subtracted).div_(divisor)
    return rows.view(images.shape).permute(0, 3, 1, 2)


def pad_images(images: Sequence[Tensor]) -> Tensor:
    """Stack images (C x H x W) of any sizes, padded with zeros at the bottom and the right."""
    height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
    return torch.stack([F.pad(i, (0, width - i.shape[-1], 0, height - i.shape[-2])) for i in images])
