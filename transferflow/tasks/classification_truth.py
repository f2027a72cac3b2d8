"""The truth of classification beside its predictions, and how much each class weighs in the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferflow.data.snapshot.rows import Row
from transferflow.tasks.base import SplitPredictions


def class_weights(
    how: str | Mapping[str, float] | None,
    counts: Sequence[int],
    classes: Sequence[str],
    *,
    images: int | None = None,
) -> Tensor | None:
    """Weight of each class in the loss, in class order.

    Args:
        how: `balanced`, weights by name, or nothing. Balanced, exclusive classes weigh n / (k x count), as in
            scikit-learn (King & Zeng 2001). Of several labels each class is a question of its own: images
            with it weigh (n - count) / count times those without it, so that both sides weigh the same.
        counts: Training images of each class.
        classes: Class names in order.
        images: Number of training images, where an image may have several labels.

    Returns:
        float32 of shape (classes,), or `None`. With several labels: weights of the images that have the class
        (`pos_weight` of binary cross-entropy).
    """
    if how is None:
        return None
    if isinstance(how, Mapping):
        return torch.tensor([how.get(name, 1.0) for name in classes])
    if images is None:
        return torch.tensor([sum(counts) / (len(counts) * max(count, 1)) for count in counts])
    # A class that every image has, or none, still needs a weight above 0.
    return torch.tensor([max(images - count, 1) / max(count, 1) for count in counts])


def matrix_column(matrix: Tensor) -> pa.Array:
    """A float32 matrix as a column of equally long lists, a row each."""
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1).numpy()), matrix.shape[1])


def column_matrix(table: pa.Table, name: str) -> np.ndarray:
    """A column of equally long lists as a float64 matrix (rows x length)."""
    column = table[name].combine_chunks()
    width = column.type.list_size
    return np.asarray(column.flatten(), dtype=np.float64).reshape(len(table), width)


def hot_targets(predictions: SplitPredictions) -> NDArray[np.bool_]:
    """Truth of the predicted images, in their order: images x classes."""
    return targets_of(predictions, multilabel=True).astype(bool)


def targets_of(predictions: SplitPredictions, multilabel: bool) -> np.ndarray:
    """Truth of the predicted images, in their order: class indices, or a multi-hot matrix."""
    rows = predictions.read_rows()
    ids = predictions.table["id"].to_pylist()
    return match_targets(ids, rows, predictions.snapshot.classes, multilabel)


def match_targets(
    ids: Sequence[str], rows: Sequence[Row], classes: Sequence[str], multilabel: bool
) -> np.ndarray:
    """Truth of images in the order of their ids: class indices, or a multi-hot matrix."""
    index = {name: number for number, name in enumerate(classes)}
    labels = {row.id: [index[label] for label in row.labels] for row in rows}
    if not multilabel:
        return np.array([labels[i][0] for i in ids], dtype=np.int64)
    hot = np.zeros((len(ids), len(classes)), dtype=np.int64)
    for row, image in enumerate(ids):
        hot[row, labels[image]] = 1
    return hot
