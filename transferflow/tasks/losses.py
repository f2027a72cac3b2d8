"""The losses of a task, as it hands them to the training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.training.job import LossCounts, count_images


@dataclass(frozen=True)
class Losses:
    """Named losses of a batch; their sum is minimised.

    Attributes:
        of: Model and batch to losses.
        counts: What each of them is a mean over, for batches that are computed in parts.
        in_eval: Whether they can be told from what the model answers in eval mode.
    """

    of: Callable[[nn.Module, Batch], Mapping[str, Tensor]]
    counts: LossCounts = count_images
    in_eval: bool = True

    def __call__(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """The losses."""
        return self.of(model, batch)
