"""Images that look alike, found among many without comparing all pairs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from transferflow.data.phash import HASH_BYTES

MAX_DISTANCE = 9
"""Bits of 256 by which two hashes may differ; random pairs differ by 128 ± 8."""
_BANDS = MAX_DISTANCE + 1
_NEIGHBOURS = 16
_BITS = HASH_BYTES * 8


def find_near_duplicates(hashes: pa.ChunkedArray, max_pairs: int = 100_000) -> list[tuple[int, int]]:
    """Pairs of rows whose perceptual hashes differ by at most `MAX_DISTANCE` bits.

    The hash is cut into one band more than bits may differ, so that a pair agrees in one band at least.
    Within a band equal values are neighbours after sorting. Of long runs of equal values (an unlikely
    thing, bands having 25 bits) each member is compared with its next few neighbours alone.

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
    for key in band_keys(packed):
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        for step in range(1, _NEIGHBOURS + 1):
            same = np.flatnonzero(ordered[step:] == ordered[:-step])
            if not len(same):
                break
            a, b = order[same], order[same + step]
            near = np.bitwise_count(words[a] ^ words[b]).sum(axis=1) <= MAX_DISTANCE
            pairs = np.sort(np.stack([rows[a[near]], rows[b[near]]], axis=1), axis=1)
            found.update(map(tuple, pairs.tolist()))
            if len(found) >= max_pairs:
                return sorted(found)
    return sorted(found)


def band_keys(packed: NDArray[np.uint8]) -> list[NDArray[np.uint64]]:
    """The value of each band, N per band; bits are dealt out like cards, so that each gets some of all."""
    bits = np.unpackbits(packed, axis=1)
    keys = []
    for band in range(_BANDS):
        picked = bits[:, np.arange(band, _BITS, _BANDS)]
        weights = np.uint64(1) << np.arange(picked.shape[1], dtype=np.uint64)
        keys.append(picked.astype(np.uint64) @ weights)
    return keys
