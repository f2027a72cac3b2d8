"""Whether the pixels of a batch look like what a pretrained model was trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from transferflow.training.preflight.contents import Check

FAR = 3.0
"""Mean and standard deviation beyond which pixels were not normalised: 0..1 images reach 2.6."""
FLAT = 0.05
"""Standard deviation under which images are of one colour: a few of 255 gray levels."""


def check_pixels(images: Tensor) -> Check:
    """Mean and standard deviation over a batch of normalised images.

    Args:
        images: float32, B x C x H x W.
    """
    share = float(images.isfinite().float().mean())
    if share < 1:
        warning = "the batch has pixels that are no numbers: look at these images and the normalisation"
        return Check("pixels", f"{1 - share:.2%} are not finite", "finite numbers", warning)
    spread, mean = (float(value) for value in torch.std_mean(images))
    found = f"mean {mean:.2f}, standard deviation {spread:.2f}"
    return Check("pixels", found, "about 0 and 1: normalised", decide_warning(mean, spread))


def decide_warning(mean: float, spread: float) -> str:
    """What to say of pixels that are clearly off; nothing where they are not.

    Args:
        mean: Over all pixels of a batch.
        spread: Their standard deviation.
    """
    if spread < FLAT:
        return (
            f"the images of the batch have next to no contrast (standard deviation {spread:.2g}): look at "
            "the sheet of training images; of values of more than 8 bits data.intensity says which are shown"
        )
    if abs(mean) > FAR or spread > FAR:
        return (
            f"the pixels are not normalised as pretrained weights expect (mean {mean:.2f}, standard "
            f"deviation {spread:.2f}, where about 0 and 1 are usual): look at backbone.normalization"
        )
    return ""
