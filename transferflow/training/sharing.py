"""A loader whose batches cost little, dealt out to several processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from transferflow.data.loading.batch import Batch
from transferflow.data.loading.shares import Share
from transferflow.training.job import EpochLoader


@dataclass(frozen=True)
class SharedLoader:
    """This process's share of each batch of a loader that makes whole ones, such as from cached features.

    Attributes:
        whole: The loader.
        share: Which part of each batch is this process's.
        batch_size: Images of a full batch.
    """

    whole: EpochLoader
    share: Share
    batch_size: int

    def __len__(self) -> int:
        return len(self.whole)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """Iterate over one epoch from batch `first` on."""
        for batch in self.whole.epoch(number, first):
            part, counts = self.share.part(len(batch), self.batch_size)
            yield replace(batch[part], counts=counts)
