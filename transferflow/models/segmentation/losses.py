"""Losses of segmentation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None, ignore_index: int) -> Tensor:
    """Mean cross-entropy over the pixels that count, each weighted by its class.

    Unlike torch's mean it is 0, not nan, where every pixel is ignored.

    Args:
        logits: B x classes x H x W, float32.
        targets: B x H x W class indices.
        weights: One per class, or nothing.
        ignore_index: Target value that does not count.
    """
    total = F.cross_entropy(logits, targets, weight=weights, ignore_index=ignore_index, reduction="sum")
    least = 1.0 if weights is None else torch.finfo(torch.float32).tiny
    return total / count_pixels(targets, weights, ignore_index).clamp(min=least)


def count_pixels(targets: Tensor, weights: Tensor | None, ignore_index: int) -> Tensor:
    """What `cross_entropy` is a mean over: the pixels that count, or the weights of their classes.

    Args:
        targets: B x H x W class indices, of any type of whole numbers.
        weights: One per class, or nothing.
        ignore_index: Target value that does not count.
    """
    counts = targets != ignore_index
    if weights is None:
        return counts.sum()
    return (weights[targets.where(counts, torch.zeros_like(targets)).long()] * counts).sum()


def dice_loss(logits: Tensor, targets: Tensor, ignore_index: int) -> Tensor:
    """One minus the soft Dice coefficient, averaged over the classes that the batch holds.

    The sums run over the whole batch (arXiv:1606.04797 without the squares): a class that is in one image
    only is no reason to punish the others.

    Args:
        logits: B x classes x H x W, float32.
        targets: B x H x W class indices.
        ignore_index: Target value that does not count.
    """
    counts = targets != ignore_index
    classes = torch.arange(logits.shape[1], device=targets.device)
    truth = (targets[:, None] == classes[:, None, None]) & counts[:, None]
    found = logits.softmax(1) * counts[:, None]
    overlap = (found * truth).sum((0, 2, 3))
    sizes = found.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    present = truth.sum((0, 2, 3)) > 0
    dice = 1 - 2 * overlap / sizes.clamp(min=1e-6)
    return (dice * present).sum() / present.sum().clamp(min=1)
