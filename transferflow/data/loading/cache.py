"""The decoded-image cache: images decoded and resized once, as raw uint8 in memory-mapped shards.

```
<folder>/<digest of how images are decoded and resized>/    shards, see `store.shards`
```
A blob is an image, then its mask if it has one. An image is found by its content hash, so that a grown data
set decodes just what is new.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from transferflow.cpus import usable_cpus
from transferflow.data.transforms.sample import Resized
from transferflow.logs import get_logger
from transferflow.store.shards import Blob, Bytes, Note, Shards, shards_to_fill
from transferflow.text import counted

logger = get_logger("data")

_CHUNK = 512
"""Images per shard: what an interrupted build loses at most."""
_GIGABYTE = 2**30
_SECONDS_BETWEEN_LOGS = 20.0


@dataclass(frozen=True)
class CacheFolder:
    """Where decoded images are kept, and how much room they may take.

    Attributes:
        path: Folder for the caches of all data sets.
        max_gb: Room for all of them together, in GiB.
    """

    path: Path
    max_gb: float


@dataclass(frozen=True)
class DecodedCache:
    """Reads decoded images, by their keys; the cache is not removed for as long as this object lives."""

    shards: Shards

    def read(self, key: str) -> Resized | None:
        """Return the image, or `None` if it is absent or damaged."""
        found = self.shards.read(key)
        if found is None:
            return None
        try:
            return _unpacked(*found)
        except ValueError:
            self.shards.drop(key)
            return None


def build_cache(
    place: CacheFolder,
    settings: str,
    keys: Sequence[str],
    sizes: Iterable[int],
    decode: Callable[[int], Resized],
) -> DecodedCache | None:
    """Fill the cache with what it lacks; another process that fills the same one is waited for.

    Args:
        place: Where it is kept.
        settings: Digest of how the images are decoded and resized.
        keys: Key of each image.
        sizes: Bytes of each image once decoded, mask included.
        decode: Decodes and resizes the image at a position.

    Returns:
        `None` if the images do not fit: then they are decoded on the fly.
    """
    needed = dict(zip(keys, sizes, strict=True))
    with shards_to_fill(place.path / settings, needed, round(place.max_gb * _GIGABYTE)) as shards:
        if shards is None:
            logger.info(
                "the decoded images do not fit into %g GiB beside what is in use: decoding them on the fly",
                place.max_gb,
            )
            return None
        lacking = {key: at for at, key in enumerate(keys) if key not in shards}
        if lacking:
            logger.info("decoding %s once", counted(len(lacking), "image"))
            _fill(shards, lacking, decode)
        return DecodedCache(shards)


def _fill(shards: Shards, lacking: Mapping[str, int], decode: Callable[[int], Resized]) -> None:
    waiting = iter(lacking.items())
    done, said = 0, time.monotonic()
    # Threads are enough: decoding and resizing release the interpreter lock.
    with ThreadPoolExecutor(usable_cpus()) as pool:
        while chunk := list(islice(waiting, _CHUNK)):
            images = pool.map(decode, [at for _, at in chunk])
            if not shards.write(_packed(key, image) for (key, _), image in zip(chunk, images, strict=True)):
                return
            done += len(chunk)
            if time.monotonic() - said > _SECONDS_BETWEEN_LOGS:
                said = time.monotonic()
                logger.info("decoded %d of %d images", done, len(lacking))


def _packed(key: str, resized: Resized) -> Blob:
    mask = resized.mask
    raw = resized.image.tobytes() + (b"" if mask is None else mask.tobytes())
    return Blob(key, raw, [*resized.image.shape, *resized.original, mask is not None])


def _unpacked(raw: Bytes, note: Note) -> Resized:
    """The image; its pixels stay where they are mapped.

    Raises:
        ValueError: If the note does not describe these bytes.
    """
    rows, columns, channels, height, width, has_mask = note
    pixels = rows * columns * channels
    mask = raw[pixels:].reshape(rows, columns) if has_mask else None
    return Resized(raw[:pixels].reshape(rows, columns, channels), mask, (height, width))
