"""Mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899) of a batch, through timm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


def mix_batch(
    images: Tensor, targets: Tensor, *, mixup: float, cutmix: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Blend each image with another one of the batch, and its target likewise.

    Args:
        images: float32, B x C x H x W; an odd last image stays as it is.
        targets: float32, B x classes, one-hot or multi-hot.
        mixup: Alpha of mixup; 0 switches it off.
        cutmix: Alpha of CutMix; 0 switches it off. With both, each batch takes one of them by chance.
        seed: Decides what is blended, and how much.
    """
    from timm.data.mixup import Mixup

    even = len(images) // 2 * 2
    if even == 0:
        return images, targets
    build: Any = Mixup  # timm has no types here
    mixer = build(mixup_alpha=mixup, cutmix_alpha=cutmix, label_smoothing=0.0, num_classes=even)
    with _numpy_seed(seed):
        # As classes it is given the places in the batch: what comes back are the shares of the images,
        # which serve targets of every kind.
        mixed, shares = mixer(images[:even].clone(), torch.arange(even))
    blended = shares.to(targets.dtype) @ targets[:even]
    return torch.cat([mixed, images[even:]]), torch.cat([blended, targets[even:]])


@contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    # timm draws from NumPy's global generator.
    state = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(state)
