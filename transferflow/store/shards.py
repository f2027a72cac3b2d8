"""Shards, of which caches consist: many blobs in few memory-mapped files, each checked when it is read.

```
<folder>/<shard>.bin     the blobs, one after the other
<folder>/<shard>.json    key of each blob to its place, its checksum and a note of whoever wrote it; sealed
```
Blobs are written before their index, so that half a shard is never read. A blob or an index that is damaged
counts as absent, and is written again.
"""

from __future__ import annotations

import errno
import os
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from transferflow.logs import get_logger
from transferflow.store.blob_index import BlobIndex, Place, join_indexes, list_blobs, no_blobs
from transferflow.store.in_use import FolderInUse, filling, make_room, remove_if_unused, size_of
from transferflow.store.sealed import read_sealed, write_sealed

logger = get_logger("store")

Bytes: TypeAlias = NDArray[np.uint8]
Note: TypeAlias = Sequence[int]
"""Numbers that say what a blob's bytes mean, such as its shape."""

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_CHECKED, _DROPPED = 1, 2
"""What a process knows of a blob; 0: nothing yet."""


@dataclass(frozen=True)
class Blob:
    """What is written under a key."""

    key: str
    raw: bytes
    note: Note


class Shards:
    """The shards of one folder, which nobody removes meanwhile; each process maps them for itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._in_use: FolderInUse | None = FolderInUse(folder)
        self._index = no_blobs()
        self._added: list[pa.Table] = []
        self._states = bytearray()
        self._maps: dict[str, Bytes] = {}
        for index in sorted(folder.glob("*.json")):
            self._load(index)

    def __getstate__(self) -> tuple[Path, BlobIndex]:
        self.sort_in()
        return self.folder, self._index

    def __setstate__(self, state: tuple[Path, BlobIndex]) -> None:
        self.folder, self._index = state
        # A process that starts from a copy lives shorter than the one that holds the folder.
        self._in_use, self._added, self._maps = None, [], {}
        self._states = bytearray(len(self._index))

    def close(self) -> None:
        """Let the folder be removed."""
        if self._in_use is not None:
            self._in_use.release()

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not None

    def read(self, key: str) -> tuple[Bytes, Note] | None:
        """Return the bytes, which can't be written to, and their note; `None` if absent or damaged.

        Bytes are checked when they are read for the first time.
        """
        number = self._find(key)
        if number is None:
            return None
        place = self._index.place(number)
        try:
            raw = self._map(self._index.shard(number))[place.offset : place.offset + place.length]
        except (OSError, ValueError):
            raw = np.empty(0, np.uint8)
        is_whole = place.offset >= 0 and len(raw) == place.length
        is_checked = self._states[number] == _CHECKED
        if not is_whole or not (is_checked or zlib.crc32(raw.data) == place.checksum):
            self.drop(key)
            return None
        self._states[number] = _CHECKED
        return raw, place.note

    def drop(self, key: str) -> None:
        """Forget a blob that is not what was written; its shard is written again next time."""
        number = self._find(key)
        if number is None:
            return
        self._states[number] = _DROPPED
        shard = self._index.shard(number)
        logger.warning("%s in the cache %s is damaged, and is made again", shard, self.folder)
        with suppress(OSError):
            (self.folder / shard).with_suffix(".json").unlink()

    def _find(self, key: str) -> int | None:
        self.sort_in()
        number = self._index.find(key)
        return None if number is None or self._states[number] == _DROPPED else number

    def sort_in(self) -> None:
        """Let blobs be found that were written, or listed, since the last time: many writes, then reads."""
        if not self._added:
            return
        states = np.frombuffer(self._states + bytes(sum(map(len, self._added))), np.uint8)
        self._index, order = join_indexes(self._index, self._added)
        self._added, self._states = [], bytearray(states[order])

    def write(self, blobs: Iterable[Blob]) -> bool:
        """Write a shard, for whoever fills the folder; `False` where the disk is full, and it is not kept."""
        name = uuid.uuid4().hex
        try:
            places = self._write(name, blobs)
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
            for left in (f"{name}.bin", f"{name}.json"):
                (self.folder / left).unlink(missing_ok=True)
            logger.warning("the disk is full: what is not in the cache yet is made on the fly")
            return False
        self._added.append(list_blobs(f"{name}.bin", places))
        return True

    def _write(self, name: str, blobs: Iterable[Blob]) -> Mapping[str, Place]:
        places: dict[str, Place] = {}
        offset = 0
        with (self.folder / f"{name}.bin").open("wb") as stream:
            for blob in blobs:
                places[blob.key] = Place(
                    offset, len(blob.raw), zlib.crc32(blob.raw), [int(n) for n in blob.note]
                )
                offset += stream.write(blob.raw)
            stream.flush()
            os.fsync(stream.fileno())
        write_sealed(self.folder / f"{name}.json", {"blobs": places})
        return places

    def _load(self, index: Path) -> None:
        try:
            places = {
                key: Place(int(offset), int(length), int(checksum), [int(n) for n in note])
                for key, (offset, length, checksum, note) in read_sealed(index)["blobs"].items()
            }
            self._added.append(list_blobs(index.with_suffix(".bin").name, places))
        except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError, RecursionError):
            logger.warning("the index %s is damaged; what it lists is made again", index)
            with suppress(OSError):
                index.unlink()

    def _map(self, shard: str) -> Bytes:
        if shard not in self._maps:
            mapped = np.memmap(self.folder / shard, np.uint8, mode="r")
            self._maps[shard] = mapped.view(np.ndarray)  # whose parts take less time to make
        return self._maps[shard]


@contextmanager
def shards_to_fill(folder: Path, needed: Mapping[str, int], limit: int) -> Iterator[Shards | None]:
    """Open a cache and make room for what it lacks; only this process writes to it within the block.

    Another process that fills it is waited for, so that what it wrote is here. The shards may be read after
    the block, and are not removed for as long as they are.

    Args:
        folder: The cache; its neighbours are caches of the same kind, which share the room.
        needed: Bytes under each key.
        limit: Bytes that the cache and its neighbours may take.

    Yields:
        `None` if it does not fit beside what is in use.
    """
    with filling(folder):
        _sweep(folder)
        shards = _open_with_room(folder, needed, limit)
        yield shards
        if shards is not None:
            shards.sort_in()  # or each loader process would, for itself


def _open_with_room(folder: Path, needed: Mapping[str, int], limit: int) -> Shards | None:
    if sum(needed.values()) > limit:
        return None
    shards = Shards(folder)
    lacking = sum(size for key, size in needed.items() if key not in shards)
    if size_of(folder) + lacking > limit:  # full of what former runs needed
        shards.close()
        if not remove_if_unused(folder):
            return None
        shards, lacking = Shards(folder), sum(needed.values())
    return shards if make_room(folder, lacking, limit) else None


def _sweep(folder: Path) -> None:
    """Remove blobs without an index: of a process that was killed while it wrote, or damaged."""
    for shard in folder.glob("*.bin"):
        if not shard.with_suffix(".json").exists():
            shard.unlink(missing_ok=True)
