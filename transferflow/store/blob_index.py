"""Where each blob of a cache lies: arrays sorted by the blobs' keys, which processes share.

A dict of a million keys would be copied into each of them as its reference counts are written to.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from transferflow.store.mapped import MappedTable

_SCHEMA = pa.schema(
    [
        ("high", pa.uint64()),
        ("low", pa.uint64()),
        ("shard", pa.dictionary(pa.int32(), pa.string())),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("checksum", pa.uint32()),
        ("note", pa.list_(pa.int64())),
    ]
)
_HALVES = struct.Struct("<QQ")


class Place(NamedTuple):
    """Where a blob lies.

    Attributes:
        offset: Its first byte in the shard.
        length: In bytes.
        checksum: CRC-32 of its bytes.
        note: What whoever wrote it says of it.
    """

    offset: int
    length: int
    checksum: int
    note: Sequence[int]


class BlobIndex:
    """Finds blobs by their keys; never changed."""

    def __init__(self, shared: MappedTable) -> None:
        """Nothing is copied.

        Args:
            shared: As `join_indexes` makes it.
        """
        self._shared = shared
        columns = {name: _whole(shared.table[name]) for name in _SCHEMA.names}
        # An item of a view is a plain int, one of an array an object of numpy's, which takes longer to make.
        self._high, self._low, self._offset, self._length, self._checksum = (
            memoryview(columns[name].to_numpy()) for name in ("high", "low", "offset", "length", "checksum")
        )
        self._shard = memoryview(columns["shard"].indices.to_numpy())
        self._shards: list[str] = columns["shard"].dictionary.to_pylist()
        self._note_ends = memoryview(columns["note"].offsets.to_numpy())
        self._notes = memoryview(columns["note"].values.to_numpy())

    def __reduce__(self) -> tuple[Callable[[MappedTable], BlobIndex], tuple[MappedTable]]:
        return BlobIndex, (self._shared,)

    def __len__(self) -> int:
        return len(self._high)

    @property
    def table(self) -> pa.Table:
        """A row per blob, as `list_blobs` has them, sorted."""
        return self._shared.table

    def find(self, key: str) -> int | None:
        """Number of a blob; `None` if it is not listed."""
        high, low = _halves(key)
        number = bisect_left(self._high, high)
        while number < len(self._high) and self._high[number] == high:
            if self._low[number] == low:
                return number
            number += 1
        return None

    def shard(self, number: int) -> str:
        """Name of the shard that a blob lies in."""
        return self._shards[self._shard[number]]

    def place(self, number: int) -> Place:
        """Where it lies there."""
        note = self._notes[self._note_ends[number] : self._note_ends[number + 1]].tolist()
        return Place(self._offset[number], self._length[number], self._checksum[number], note)


def list_blobs(shard: str, places: Mapping[str, Place]) -> pa.Table:
    """List the blobs of one shard, by their keys.

    Raises:
        ValueError: If a number is none that a place can have.
        OverflowError: Likewise.
    """
    halves = [_halves(key) for key in places]
    shards = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(places), np.int32)), pa.array([shard]))
    columns = {
        "high": [high for high, _ in halves],
        "low": [low for _, low in halves],
        "shard": shards,
        **{name: [getattr(place, name) for place in places.values()] for name in Place._fields},
    }
    return pa.table(columns, schema=_SCHEMA)


def join_indexes(known: BlobIndex, added: Sequence[pa.Table]) -> tuple[BlobIndex, NDArray[np.int64]]:
    """Sort further blobs in; of several with one key the last counts.

    Args:
        known: What was listed before.
        added: As `list_blobs` lists them.

    Returns:
        The new index, and for each of its blobs the number that it had among the known and added ones.
    """
    table = pa.concat_tables([known.table, *added]).unify_dictionaries().combine_chunks()
    high, low = table["high"].to_numpy(), table["low"].to_numpy()
    order = np.lexsort((low, high))  # which leaves equal ones in the order that they have
    high, low = high[order], low[order]
    is_last = np.ones(len(order), np.bool_)
    is_last[:-1] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    order = order[is_last]
    return BlobIndex(MappedTable(table.take(pa.array(order)))), order


def no_blobs() -> BlobIndex:
    """An index that lists nothing."""
    return BlobIndex(MappedTable(_SCHEMA.empty_table()))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _halves(key: str) -> tuple[int, int]:
    """Two numbers that stand for a key; of so many bits no two keys have the same."""
    high, low = _HALVES.unpack(hashlib.blake2b(key.encode(), digest_size=_HALVES.size).digest())
    return high, low
