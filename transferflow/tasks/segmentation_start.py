"""Losses of a segmenter whose class layers are new."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from transferflow.data.loading.batch import Batch
from transferflow.tasks.losses import LossesOf, losses_of_answer, start_near
from transferflow.training.job import StartLoss

MOST_SCORES = 1 << 22
"""A score for each class of each pixel, at most so many: more than a mean over pixels needs."""


def even_mask_starts(
    losses: LossesOf, classes: int, auxiliary: bool, batch: Batch
) -> Mapping[str, StartLoss]:
    """Losses of a head that finds every class as likely as another, in each pixel.

    Args:
        losses: Of the task.
        classes: Classes of a pixel.
        auxiliary: Whether there is an auxiliary head, which knows as little.
        batch: Its targets are B x H x W.
    """
    if not isinstance(batch.targets, Tensor):
        return {}
    targets = thinned(batch.targets, classes)
    even = torch.zeros(len(targets), classes, *targets.shape[1:])
    answer = {"out": even, "aux": even} if auxiliary else {"out": even}
    found = losses_of_answer(losses, answer, replace(batch, targets=targets))
    why = f"as each pixel is any of {classes} classes"
    return {name: start_near(value, why) for name, value in found.items()}


def thinned(masks: Tensor, classes: int) -> Tensor:
    """Every so manieth row and column of masks, so that a score for each class of each pixel takes little.

    Args:
        masks: B x H x W.
        classes: Classes of a pixel.
    """
    step = math.ceil(math.sqrt(masks.numel() * classes / MOST_SCORES))
    return masks if step <= 1 else masks[:, ::step, ::step]
