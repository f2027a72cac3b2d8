"""What the losses want of a batch, from what stands beside its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from transferflow.data.loading.dataset import ImageDataset, RawBatch
from transferflow.data.transforms.sample import VOID
from transferflow.spec.sections.truth import BoxTruth, LabelTruth, MaskTruth, NumberTruth, Truth


@dataclass(frozen=True)
class Targets:
    """Turns what stands beside the images into what the losses want.

    Attributes:
        truth: What stands beside the images.
        per_image: Class numbers (int64, images) or class sets (float32, images x classes) for labels, numbers
            (float32, images).
        classes: Number of classes.
    """

    truth: Truth
    per_image: Tensor | None
    classes: int

    def of(self, raw: RawBatch) -> Tensor | list[dict[str, Tensor]]:
        """Targets of a batch, as `Batch.targets` describes them."""
        match self.truth:
            case LabelTruth() | NumberTruth():
                if self.per_image is None:
                    raise TypeError("labels and numbers are targets per image")
                return self.per_image[raw.places]
            case BoxTruth():
                return [{"boxes": b, "labels": n} for b, n in zip(raw.boxes, raw.labels, strict=True)]
            case MaskTruth(ignored_value=ignored):
                if raw.masks is None:
                    raise TypeError("the batch has no masks")
                return raw.masks if ignored == VOID else raw.masks.masked_fill(raw.masks == VOID, ignored)
            case _:
                assert_never(self.truth)

    def shares_of(self, raw: RawBatch) -> Tensor:
        """float32 B x classes, for mixing."""
        targets = self.of(raw)
        if not isinstance(targets, Tensor):
            raise TypeError("only labels can be mixed")
        if targets.dtype == torch.int64:
            return torch.nn.functional.one_hot(targets, self.classes).float()
        return targets


def targets_per_image(dataset: ImageDataset, truth: Truth) -> Tensor | None:
    """Targets of all images, where each has one of its own; see `Targets.per_image`."""
    match truth:
        case LabelTruth(several=several):
            return torch.from_numpy(dataset.class_sets() if several else dataset.class_numbers())
        case NumberTruth():
            return torch.from_numpy(dataset.numbers())
        case BoxTruth() | MaskTruth():
            return None
        case _:
            assert_never(truth)
