"""The truth of segmentation: masks of a snapshot, and how often each class is in them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferflow.data.files.geometry import kept_size, resize_mask
from transferflow.data.formats.masks import mask_files_of
from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.manifest import read_rows
from transferflow.data.snapshot.pixels import read_true_mask
from transferflow.data.snapshot.rows import Row
from transferflow.errors import EvaluationError
from transferflow.spec.sections.data import KeptShape
from transferflow.spec.sections.size import Size
from transferflow.tasks.base import SplitPredictions
from transferflow.tasks.rendering.mask_files import read_mask

_KEPT_BYTES = 256 << 20
COUNTED_IMAGES = 2000
"""Class frequencies are estimated from at most so many training images, evenly spread."""


class MaskPairs:
    """Predicted and true masks of a split, image by image, in the manifest's order.

    Args:
        predictions: A row per image: `id` and `mask`, a file in their folder.
        ignore_index: Value that is no class.
        shape: How the size in which masks are compared follows from that of an image.

    Raises:
        EvaluationError: If an image has no prediction.
    """

    def __init__(self, predictions: SplitPredictions, ignore_index: int, shape: KeptShape) -> None:
        table = predictions.table
        self.rows = predictions.read_rows()
        self.classes = len(predictions.snapshot.classes)
        self._folder = predictions.folder
        self._files = mask_files_of(predictions.snapshot, ignore_index)
        self._shape = shape
        self._found = dict(zip(table["id"].to_pylist(), table["mask"].to_pylist(), strict=True))
        missing = [row.id for row in self.rows if row.id not in self._found]
        if missing:
            raise EvaluationError("images have no predicted mask", found=", ".join(missing[:5]))

    def masks(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Prediction and truth of an image: uint8 class indices in the size in which they are compared.

        Raises:
            EvaluationError: If the predicted mask can't be read.
            DataError: If the true mask can't be read.
        """
        row = self.rows[number]
        predicted = read_mask(self._folder, self._found[row.id])
        return predicted, _brought_to(self._shape, read_true_mask(self._files, row))


class KeptMasks:
    """True masks of some images, read once and kept in memory, packed, for as long as there is room.

    Args:
        snapshot: The data set.
        rows: The images.
        ignore_index: Value that is no class.
        shape: How the size in which masks are compared follows from that of an image.
        most: Bytes that the packed masks may take.
    """

    def __init__(
        self,
        snapshot: DatasetSnapshot,
        rows: Sequence[Row],
        ignore_index: int,
        shape: KeptShape,
        most: int = _KEPT_BYTES,
    ) -> None:
        self._files = mask_files_of(snapshot, ignore_index)
        self._rows = rows
        self._places = {row.id: place for place, row in enumerate(rows)}
        self._shape = shape
        self._packed: dict[str, tuple[Size, bytes]] = {}
        self._room = most

    def read(self, image: str) -> NDArray[np.uint8]:
        """The mask of an image: uint8 class indices in the size in which masks are compared.

        Raises:
            DataError: If it can't be read.
        """
        if image in self._packed:
            size, packed = self._packed[image]
            return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(size)
        mask = _brought_to(self._shape, read_true_mask(self._files, self._rows[self._places[image]]))
        packed = zlib.compress(np.ascontiguousarray(mask).data, 1)
        if len(packed) <= self._room:
            self._packed[image] = (mask.shape[0], mask.shape[1]), packed
            self._room -= len(packed)
        return mask


def _brought_to(shape: KeptShape, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask as it is, or resized as its image is, by nearest neighbour."""
    size = kept_size((mask.shape[0], mask.shape[1]), shape.shorter, shape.longer)
    return resize_mask(mask, size)


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
        counts += np.bincount(read_true_mask(files, row).ravel(), minlength=256)
    found = counts[: len(snapshot.classes)]
    balanced = found.sum() / (len(found) * np.maximum(found, 1))
    return torch.from_numpy(balanced.astype(np.float32))
