"""What processes that train one model together say to each other; a training in one process says nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn


class Ranks(Protocol):
    """Processes with a number each, the rank; each has a device of its own and the whole model.

    Every process makes the same calls in the same order: each call waits for all of them. Rank 0 is the one
    that writes files, measures, and talks to a person.
    """

    @property
    def rank(self) -> int:
        """This process's number, from 0."""
        ...

    @property
    def world(self) -> int:
        """How many there are."""
        ...

    def in_turn(self) -> AbstractContextManager[None]:
        """A block that rank 0 goes through first, for what it fetches or writes for all of them."""
        ...

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over all ranks, each of the same numbers; nan where one is."""
        ...

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors on the device by their sums over all ranks, the same bits on each."""
        ...

    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by those of rank 0."""
        ...

    def share(self, value: Any) -> Any:  # noqa: ANN401  plain JSON data
        """The plain JSON data that rank 0 gives; what the others give is not looked at."""
        ...

    def gather(self, data: bytes) -> list[bytes]:
        """What each rank gives, in their order, at rank 0; nothing at the others."""
        ...

    def join_batch_norm(self, model: nn.Module) -> nn.Module:
        """The model with batch norm that trains on the images of all ranks."""
        ...


@dataclass(frozen=True)
class Alone:
    """A training in this process alone: there is nobody to talk to."""

    rank: int = 0
    world: int = 1

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The block as it is."""
        yield

    def total(self, values: Sequence[float]) -> list[float]:
        """The values."""
        return list(values)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Nothing to add."""

    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Nothing to copy."""

    def share(self, value: Any) -> Any:  # noqa: ANN401  plain JSON data
        """The value."""
        return value

    def gather(self, data: bytes) -> list[bytes]:
        """The data."""
        return [data]

    def join_batch_norm(self, model: nn.Module) -> nn.Module:
        """The model: its batch norm sees every image anyway."""
        return model


ALONE = Alone()
