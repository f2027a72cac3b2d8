"""Where activations are kept: in shards on the disk, or in memory where there is no room for files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from transferflow.store.shards import Blob, Bytes, Note, shards_to_fill

_MAX_IN_MEMORY = 1 << 30
"""Bytes of activations that are kept where there is no folder for them."""


class Blobs(Protocol):
    """What activations are read from and written to; `store.shards.Shards` is one."""

    def __contains__(self, key: str) -> bool: ...

    def read(self, key: str) -> tuple[Bytes, Note] | None:
        """Bytes and note under a key; `None` if absent or damaged."""
        ...

    def drop(self, key: str) -> None:
        """Forget what is not what was written."""
        ...

    def write(self, blobs: Iterable[Blob]) -> bool:
        """Keep blobs; `False` where there is no room."""
        ...

    def close(self) -> None:
        """Let them be removed."""
        ...


@dataclass
class InMemory:
    """Blobs of this process alone."""

    blobs: dict[str, Blob] = field(default_factory=dict)
    is_open: bool = True

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(len(blob.raw) for blob in self.blobs.values())

    def __contains__(self, key: str) -> bool:
        return key in self.blobs

    def read(self, key: str) -> tuple[Bytes, Note] | None:
        """Bytes and note under a key."""
        found = self.blobs.get(key)
        return None if found is None else (np.frombuffer(found.raw, np.uint8), found.note)

    def drop(self, key: str) -> None:
        """Forget a blob."""
        del self.blobs[key]

    def write(self, blobs: Iterable[Blob]) -> bool:
        """Keep blobs."""
        self.blobs.update({blob.key: blob for blob in blobs})
        return True

    def close(self) -> None:
        """Let them be dropped."""
        self.is_open = False


@dataclass
class Room:
    """Where the activations of all trainings are kept, and how much room they may take.

    Attributes:
        folder: Folder of the caches; `None` keeps them in memory.
        max_bytes: Room for all of them together on the disk.
    """

    folder: Path | None
    max_bytes: int
    _in_memory: dict[str, InMemory] = field(default_factory=dict)

    @contextmanager
    def open(self, name: str, needed: Mapping[str, int]) -> Iterator[Blobs | None]:
        """Open a cache to fill it within the block; it may be read after it.

        Args:
            name: Of the cache.
            needed: Bytes under each key.

        Yields:
            `None` if it does not fit.
        """
        if self.folder is None:
            yield self._hold(name, sum(needed.values()))
            return
        with shards_to_fill(self.folder / name, needed, self.max_bytes) as shards:
            yield shards

    def _hold(self, name: str, size: int) -> InMemory | None:
        """The blobs of a name; those of others that nobody reads any more are dropped."""
        held = self._in_memory
        self._in_memory = {other: kept for other, kept in held.items() if kept.is_open or other == name}
        used = sum(
            len(b.raw)
            for other, kept in self._in_memory.items()
            if other != name
            for b in kept.blobs.values()
        )
        if used + size > _MAX_IN_MEMORY:
            return None
        found = self._in_memory.setdefault(name, InMemory())
        found.is_open = True
        return found
