"""How a batch is dealt out to processes that train together: a pure function of its size."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """Which of several processes this is; the batches themselves are the same for any number.

    Attributes:
        number: Of this process, from 0.
        of: How many there are.
    """

    number: int = 0
    of: int = 1

    def part(self, images: int, full: int) -> tuple[slice, bool]:
        """This process's images of a batch, and whether they count.

        Sizes differ by one at most. Where a last batch has too few images for all, those who get none
        compute some again that count nothing: every process takes part in every step. Nobody gets a single
        image, which batch norm can't train on, unless full batches have no more for each.

        Args:
            images: Images of the batch.
            full: Images of a full batch.
        """
        least = min(2, max(1, full // self.of))
        takers = max(1, min(self.of, images // least))
        number = self.number % takers
        return slice(images * number // takers, images * (number + 1) // takers), self.number < takers

    def run(self, batches: int) -> tuple[int, int]:
        """First and end of this process's batches, where each batch is one process's: runs in order."""
        return batches * self.number // self.of, batches * (self.number + 1) // self.of


WHOLE = Share()
"""The share of a process that is alone."""
