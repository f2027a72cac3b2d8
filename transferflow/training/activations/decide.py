"""When activations are cached: pure decisions, which `plan` and training share."""

from __future__ import annotations

import math
from typing import Literal

from transferflow.models.cut.cut import Cut
from transferflow.training.job import FreezeSchedule

Setting = Literal["auto", "off"] | int
"""`training.activation_cache`; a number: so many views of each image."""
_OPERATIONS_PER_BYTE = {"cpu": 50, "cuda": 4000, "mps": 1000}
"""Floating-point operations that take as long as reading a byte of activations.

A CPU core computes some 5e10 a second and reads 1e9 bytes out of memory; a data-centre GPU computes 2e13 and
is fed 5e9.
"""


def decide_views(setting: Setting, *, is_varied: bool, mixes: bool) -> int | None:
    """How many views of each image are computed once; `None`: none, the images are seen anew in each epoch.

    Args:
        setting: What the spec says.
        is_varied: Whether an image looks different in each epoch.
        mixes: Whether images of a batch are mixed with each other.
    """
    if setting == "off" or mixes:
        return None
    if not is_varied:
        return 1
    return None if setting == "auto" else setting


def decide_pays(cut: Cut, bytes_per_image: int, device: str) -> bool:
    """Whether reading the activations takes less time than computing them.

    Args:
        cut: Where the model is cut.
        bytes_per_image: Size of its activations.
        device: Kind of the device.
    """
    return cut.operations >= bytes_per_image * _OPERATIONS_PER_BYTE.get(device, _OPERATIONS_PER_BYTE["cuda"])


def planned_epochs(freeze: FreezeSchedule, epoch: int, epochs: int) -> int:
    """Epochs that the phase of an epoch is to last, by the plan alone, so that a resume decides alike."""
    first = freeze.at(epoch).first_epoch
    later = [phase.first_epoch for phase in freeze.phases if phase.first_epoch > first]
    return min([*later, epochs]) - first


def bytes_of(cut: Cut, itemsize: int) -> int:
    """Bytes of an image's activations.

    Args:
        cut: Where the model is cut.
        itemsize: Bytes of a number.
    """
    return sum(math.prod(shape) for shape in cut.shapes) * itemsize
