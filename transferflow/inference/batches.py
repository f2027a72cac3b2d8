"""What prediction hands around: batches of images without targets, and the raw answers about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch

from transferflow.data.loading.batch import Batch
from transferflow.inference.sources import Failure

BATCH = 32


@dataclass(frozen=True)
class Answers:
    """Predictions on images.

    Attributes:
        table: As the task's `predict` returns it; `id` is the image's name.
        sizes: Width and height of each image in pixels, by name.
        failures: Images that could not be read.
    """

    table: pa.Table
    sizes: dict[str, tuple[int, int]]
    failures: tuple[Failure, ...]


def stack_batch(images: Sequence[torch.Tensor], ids: Sequence[str]) -> Batch:
    """Images of one size as a batch without targets."""
    return Batch(torch.stack(list(images)), torch.empty(0), tuple(ids))
