"""Losses of a detector whose class layers are new."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from transferflow.models.detection.resnet50 import PRIOR_PROBABILITY
from transferflow.tasks.losses import start_at_most, start_near
from transferflow.training.job import StartLoss

_ALPHA, _GAMMA = 0.25, 2.0
"""Of the focal loss, as torchvision's detectors have it (arXiv:1708.02002)."""
_PIXELS_PER_ANCHOR = 5.3
"""RetinaNet, which has most: 9 anchors at each place of maps of stride 8, 16, … 128."""


def two_stage_starts(classes: int) -> Mapping[str, StartLoss]:
    """Of Faster R-CNN: the classifier of proposals, and what finds the proposals.

    Args:
        classes: Classes of the data set, without a background.
    """
    why = f"ln {classes + 1}, as each class and the background are as likely as another"
    return {
        "loss_classifier": start_near(math.log(classes + 1), why),
        "loss_objectness": start_at_most(math.log(2), "ln 2, as each anchor is an object or not"),
    }


def one_stage_starts(boxes: Sequence[int], classes: int, pixels: int) -> Mapping[str, StartLoss]:
    """Of RetinaNet and FCOS: the focal loss of objects that are taken to be rare.

    Each object adds about -alpha (1 - p)^gamma ln p, with the probability p that the class layer starts with;
    what is no object adds next to nothing, but there is much of it where objects are few.

    Args:
        boxes: Boxes of each image.
        classes: Classes of the data set.
        pixels: Pixels of an image.
    """
    p = PRIOR_PROBABILITY
    of_object = -_ALPHA * (1 - p) ** _GAMMA * math.log(p)
    of_rest = -(1 - _ALPHA) * p**_GAMMA * math.log(1 - p) * classes * pixels / _PIXELS_PER_ANCHOR
    share = sum(count > 0 for count in boxes) / max(1, len(boxes))
    rest = sum(of_rest / max(1, count) for count in boxes) / max(1, len(boxes))
    near = start_near(of_object, "the focal loss of objects, which are taken to be rare")
    classification = StartLoss(near.value, near.why, low=share * near.low, high=near.high + 2 * rest)
    return {"classification": classification}
