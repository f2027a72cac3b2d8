"""Whether the targets of a batch are what a loss can take: classes in range, boxes sane, numbers finite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from transferflow.data.loading.batch import Batch
from transferflow.errors import DataError
from transferflow.spec.sections.truth import BoxTruth, LabelTruth, MaskTruth, NumberTruth, Truth

_NAMED = 5
_ROUNDING = 1.0
"""Pixels by which a box may reach out of its image: what scaling and turning round off."""
_HINT = "look at the sheet of training images (`transferflow data show SPEC`), and at the augmentation"


@dataclass(frozen=True)
class TargetFacts:
    """What stands beside the images of a batch.

    Attributes:
        found: In words.
        expected: What was held against it, in words.
        warning: What is worth a look; empty where nothing is.
    """

    found: str
    expected: str
    warning: str = ""


def check_targets(batch: Batch, truth: Truth, classes: Sequence[str]) -> TargetFacts:
    """Look at the targets of a batch.

    Args:
        batch: As the model gets it, on the CPU.
        truth: What stands beside the images.
        classes: Class names in order.

    Raises:
        DataError: If a target is none that the model can learn; names the images.
    """
    match truth, batch.targets:
        case LabelTruth(several=several), Tensor() as targets:
            return _check_labels(batch, targets, classes, several=several)
        case NumberTruth(), Tensor() as targets:
            return _check_numbers(batch, targets)
        case MaskTruth(ignored_value=ignored), Tensor() as targets:
            return _check_masks(batch, targets, classes, ignored)
        case BoxTruth(), list() as targets:
            return _check_boxes(batch, targets, classes)
        case LabelTruth() | NumberTruth() | MaskTruth() | BoxTruth(), _:
            raise TypeError(f"targets of {type(truth).__name__} are {type(batch.targets).__name__}")
        case _:
            assert_never(truth)


def _check_labels(batch: Batch, targets: Tensor, classes: Sequence[str], *, several: bool) -> TargetFacts:
    if targets.is_floating_point():  # several labels, or mixed ones
        _refuse(batch, ((targets < 0) | ~(targets <= 1)).any(1), "a label is no share from 0 to 1")
        present = int((targets > 0).any(0).sum())
        found = f"{int((targets > 0).sum())} labels" if several else f"{len(targets)} images, mixed"
    else:
        wrong = (targets < 0) | (targets >= len(classes))
        _refuse(batch, wrong, f"a label is no number of a class, 0 to {len(classes) - 1}")
        present, found = len(targets.unique()), f"{len(targets)} labels"
    return TargetFacts(f"{found}, {present} of {len(classes)} classes", "each label a class of the data set")


def _check_numbers(batch: Batch, targets: Tensor) -> TargetFacts:
    _refuse(batch, ~targets.isfinite(), "the number is not finite")
    return TargetFacts(f"{float(targets.min()):.4g} to {float(targets.max()):.4g}", "finite numbers")


def _check_masks(batch: Batch, targets: Tensor, classes: Sequence[str], ignored: int) -> TargetFacts:
    counts = targets != ignored
    wrong = counts & ((targets < 0) | (targets >= len(classes)))
    _refuse(batch, wrong.flatten(1).any(1), f"a mask has values that are no class, 0 to {len(classes) - 1}")
    share, present = float(counts.float().mean()), len(targets[counts].unique())
    warning = "" if share else "no pixel of the batch counts: all of them are ignored"
    found = f"{share:.0%} of the pixels count, {present} of {len(classes)} classes"
    return TargetFacts(found, "each value a class of the data set, or ignored", warning)


def _check_boxes(batch: Batch, targets: Sequence[dict[str, Tensor]], classes: Sequence[str]) -> TargetFacts:
    height, width = batch.images.shape[-2:]
    room = torch.tensor([width, height, width, height])
    outside, wrong = [], []
    for target in targets:
        boxes, labels = target["boxes"], target["labels"]
        inside = (boxes >= -_ROUNDING) & (boxes <= room + _ROUNDING)  # False for nan, too
        outside.append(not bool(inside.all() and (boxes[:, 2:] >= boxes[:, :2]).all()))
        wrong.append(bool(((labels < 0) | (labels >= len(classes))).any()))
    _refuse(batch, torch.tensor(outside), f"a box does not lie in the image of {width} x {height} pixels")
    _refuse(batch, torch.tensor(wrong), f"a box's label is no number of a class, 0 to {len(classes) - 1}")
    count = sum(len(target["boxes"]) for target in targets)
    bare = sum(len(target["boxes"]) == 0 for target in targets)
    found = f"{count} boxes in {len(targets)} images" + (f", {bare} of them without one" if bare else "")
    warning = "" if count else "no image of the batch has a box: look whether the augmentation loses them"
    return TargetFacts(found, "each box inside its image, of a class of the data set", warning)


def _refuse(batch: Batch, wrong: Tensor, what: str) -> None:
    """Refuse images of a batch, if there are any.

    Raises:
        DataError: Names them.
    """
    ids = [name for name, is_wrong in zip(batch.ids, wrong.tolist(), strict=True) if is_wrong]
    if ids:
        more = f" and {len(ids) - _NAMED} more" if ids[_NAMED:] else ""
        raise DataError(
            f"{what}, once the image is augmented and fitted",
            where="preflight, the first batch",
            found=f"images {', '.join(ids[:_NAMED])}{more}",
            hint=_HINT,
        )
