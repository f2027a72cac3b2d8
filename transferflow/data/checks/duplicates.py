"""Images that look alike, found among many without comparing all pairs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from transferflow.data.files.appearance import HASH_BYTES

MAX_DISTANCE = 15
"""Bits of 256 by which two hashes may differ; unrelated images differ by 128, give or take 30."""
_BANDS = MAX_DISTANCE + 1
_NEIGHBOURS = 16


def find_near_duplicates(hashes: pa.ChunkedArray, max_pairs: int = 100_000) -> list[tuple[int, int]]:
    """Pairs of rows whose perceptual hashes differ by at most `MAX_DISTANCE` bits.

    The hash has one band more than bits may differ, so that such a pair agrees in a band at least. For each
    band the rows are sorted by it, and among equals by the bits that follow, so that those that look alike
    come to stand side by side; each row is compared with the next few. A pair can only be missed where more
    rows than that agree in each of its common bands.

    Args:
        hashes: 32 bytes or null per row.
        max_pairs: Stop after so many.

    Returns:
        Pairs (a, b) with a < b, sorted.
    """
    rows = np.flatnonzero(np.asarray(hashes.is_valid()))
    if len(rows) < 2:
        return []
    joined = b"".join(value for value in hashes.to_pylist() if value is not None)
    packed = np.frombuffer(joined, np.uint8).reshape(len(rows), HASH_BYTES)
    words = packed.view(np.uint64)
    found: set[tuple[int, int]] = set()
    for band in range(_BANDS):
        order = _sort_by_band(packed, band)
        bands = packed.view(np.uint16)[order, band]
        for step in range(1, _NEIGHBOURS + 1):
            same = np.flatnonzero(bands[step:] == bands[:-step])
            if not len(same):
                break
            a, b = order[same], order[same + step]
            near = np.bitwise_count(words[a] ^ words[b]).sum(axis=1) <= MAX_DISTANCE
            pairs = np.sort(np.stack([rows[a[near]], rows[b[near]]], axis=1), axis=1)
            found.update((int(one), int(two)) for one, two in pairs)
            if len(found) >= max_pairs:
                return sorted(found)
    return sorted(found)


def _sort_by_band(packed: NDArray[np.uint8], band: int) -> NDArray[np.int64]:
    """Order of the rows by the 64 bits that start at a band, the last bands going on with the first."""
    turned = np.roll(packed, -2 * band, axis=1)[:, :8]
    keys = np.ascontiguousarray(turned).view(">u8")[:, 0].astype(np.uint64)
    return np.argsort(keys, kind="stable")
