"""The truth of segmentation: masks of a snapshot, and how often each class is in them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferflow.data.manifest import Row, read_rows
from transferflow.data.mask_files import MaskFiles, mask_files_of
from transferflow.data.records import DatasetSnapshot
from transferflow.errors import DataError

COUNTED_IMAGES = 2000
"""Class frequencies are estimated from at most so many training images, evenly spread."""


def read_truth(files: MaskFiles, row: Row) -> NDArray[np.uint8]:
    """Class indices of an image, at its original size.

    Raises:
        DataError: If it has no mask, or the mask can't be read.
    """
    if row.mask is None:
        raise DataError("the image has no mask", where=row.source or row.path)
    return files.read(row.mask, row.seen)


def pixel_weights(
    how: str | Mapping[str, float] | None, snapshot: DatasetSnapshot, ignore_index: int
) -> Tensor | None:
    """Weight of each class in the loss, in class order.

    Args:
        how: `balanced` (n / (k x pixels of the class), as in scikit-learn), weights by name, or nothing.
        snapshot: Its training masks are counted.
        ignore_index: Value that is no class.

    Returns:
        float32 of shape (classes,), or `None`.
    """
    if how is None:
        return None
    if isinstance(how, Mapping):
        return torch.tensor([how.get(name, 1.0) for name in snapshot.classes])
    files = mask_files_of(snapshot, ignore_index)
    rows = read_rows(snapshot, "train")
    step = -(-len(rows) // COUNTED_IMAGES) or 1
    counts = np.zeros(256, np.int64)
    for row in rows[::step]:
        counts += np.bincount(read_truth(files, row).ravel(), minlength=256)
    found = counts[: len(snapshot.classes)]
    balanced = found.sum() / (len(found) * np.maximum(found, 1))
    return torch.from_numpy(balanced.astype(np.float32))
