"""Losses of a classifier whose head is new."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from transferflow.data.loading.batch import Batch
from transferflow.spec.sections.head import LinearHead, ZeroShotHead
from transferflow.tasks.losses import LossesOf, losses_of_answer, start_at_most, start_near
from transferflow.training.job import StartLoss


def even_class_starts(
    losses: LossesOf, classes: int, batch: Batch, *, several: bool, weighted: bool, knows: bool
) -> Mapping[str, StartLoss]:
    """Loss of a head that finds every class as likely as another.

    Args:
        losses: Of the task.
        classes: Classes of the data set.
        batch: Its first batch.
        several: Whether an image may have several labels.
        weighted: Whether the classes have weights.
        knows: Whether the head begins with something that it knows of the classes.
    """
    even = losses_of_answer(losses, torch.zeros(len(batch), classes), batch)["loss"]
    why = f"ln {classes}, as every class is as likely as another"
    if several:
        why = "ln 2, as each class is as likely as not"
    if weighted:
        why += ", with the weights of the classes"
    start = start_at_most(even, f"{why}, and the head knows more") if knows else start_near(even, why)
    return {"loss": start}


def knows_classes(head: LinearHead | ZeroShotHead) -> bool:
    """Whether a head begins with something that it knows of the classes."""
    return isinstance(head, ZeroShotHead) or head.starts_with_classes or head.warm_start is not None
