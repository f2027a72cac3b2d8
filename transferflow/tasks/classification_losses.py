"""The loss of a classifier, and what it is a mean over."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.data.records import DatasetSnapshot
from transferflow.tasks.classification_start import even_class_starts
from transferflow.tasks.classification_truth import class_weights
from transferflow.tasks.losses import Losses


def build_label_losses(
    snapshot: DatasetSnapshot,
    weighted: str | Mapping[str, float] | None,
    *,
    several: bool,
    smoothing: float,
    knows: bool,
) -> Losses:
    """Cross-entropy with label smoothing, or binary cross-entropy per class.

    Args:
        snapshot: Its training images are counted.
        weighted: `balanced`, weights by name, or nothing.
        several: Whether an image may have several labels.
        smoothing: Share of the target that is spread over all classes, 0..1.
        knows: Whether the head begins with something that it knows of the classes.
    """
    found = snapshot.class_counts["train"]
    weights = class_weights(
        weighted,
        [found.get(name, 0) for name in snapshot.classes],
        snapshot.classes,
        images=snapshot.counts["train"] if several else None,
    )

    def losses(model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        logits = model(batch.images).float()
        if not isinstance(batch.targets, Tensor):
            raise TypeError("classification targets are one tensor per batch")
        scale = None if weights is None else weights.to(logits.device, non_blocking=True)
        if several:
            targets = batch.targets * (1 - smoothing) + smoothing / 2
            loss = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=scale)
        else:
            loss = F.cross_entropy(logits, batch.targets, weight=scale, label_smoothing=smoothing)
        return {"loss": loss}

    def counts(batch: Batch) -> Mapping[str, float]:
        if weights is None or several or not isinstance(batch.targets, Tensor):
            return {}
        # Torch divides by the weights of the classes, but by the images where targets are mixed.
        return {} if batch.targets.is_floating_point() else {"loss": float(weights[batch.targets].sum())}

    starts = partial(
        even_class_starts,
        losses,
        len(snapshot.classes),
        several=several,
        weighted=weighted is not None,
        knows=knows,
    )
    return Losses(losses, counts, at_start=starts)
