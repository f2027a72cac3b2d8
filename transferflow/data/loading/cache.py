"""The decoded-image cache: images decoded and resized once, as raw uint8 in memory-mapped shards.

```
<folder>/<digest of how images are decoded and resized>/<shard>.bin    pixels, one image after the other
<folder>/<digest …>/<shard>.json                                        key of each image to its place
```
An image is found by its content hash, so that a grown data set decodes just what is new. Every read is
checked; an entry that is damaged counts as absent.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from transferflow.data.files.geometry import Pixels, Size
from transferflow.data.loading.workers import usable_cpus
from transferflow.data.transforms.sample import Resized
from transferflow.logs import get_logger
from transferflow.store import write_atomic

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
class Entry:
    """Place of one image: `mask` bytes of class indices follow the pixels when there is a mask."""

    shard: str
    offset: int
    shape: tuple[int, int, int]
    original: Size
    mask: bool
    checksum: int

    @property
    def pixels(self) -> int:
        """Bytes of the image without its mask."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def length(self) -> int:
        """Bytes of the image and its mask."""
        return self.pixels + (self.shape[0] * self.shape[1] if self.mask else 0)


@dataclass
class DecodedCache:
    """Reads the shards of one folder; each process maps them for itself."""

    folder: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    _maps: dict[str, Pixels] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "entries": self.entries, "_maps": {}}

    def load(self) -> None:
        """Read the indexes of all shards that are there."""
        for index in sorted(self.folder.glob("*.json")):
            self.entries.update(_read_index(index))

    def read(self, key: str) -> Resized | None:
        """Return the image, or `None` if it is absent or damaged."""
        entry = self.entries.get(key)
        if entry is None:
            return None
        try:
            raw = self._map(entry.shard)[entry.offset : entry.offset + entry.length]
        except (OSError, ValueError):
            raw = np.empty(0, np.uint8)
        if len(raw) != entry.length or zlib.crc32(raw.data) != entry.checksum:
            logger.warning("a decoded image in %s is damaged; decoding it again", entry.shard)
            del self.entries[key]
            return None
        image = raw[: entry.pixels].reshape(entry.shape)
        mask = raw[entry.pixels :].reshape(entry.shape[:2]) if entry.mask else None
        return Resized(image, mask, entry.original)

    def _map(self, shard: str) -> Pixels:
        if shard not in self._maps:
            self._maps[shard] = np.memmap(self.folder / shard, np.uint8, mode="r")
        return self._maps[shard]


def build_cache(
    place: CacheFolder,
    settings: str,
    keys: Sequence[str],
    sizes: Iterable[int],
    decode: Callable[[int], Resized],
) -> DecodedCache | None:
    """Fill the cache with what it lacks.

    Args:
        place: Where it is kept.
        settings: Digest of how the images are decoded and resized.
        keys: Key of each image.
        sizes: Bytes of each image once decoded, mask included.
        decode: Decodes and resizes the image at a position.

    Returns:
        `None` if the images do not fit: then they are decoded on the fly.
    """
    limit = round(place.max_gb * _GIGABYTE)
    needed = dict(zip(keys, sizes, strict=True))
    if sum(needed.values()) > limit:
        logger.info("the decoded images would take more than %g GiB: decoding them on the fly", place.max_gb)
        return None
    cache = DecodedCache(place.path / settings)
    cache.load()
    lacking = {key: at for at, key in enumerate(keys) if key not in cache.entries}
    if _used(cache.folder) + sum(needed[key] for key in lacking) > limit:
        # Full of images of former data sets.
        shutil.rmtree(cache.folder)
        cache = DecodedCache(cache.folder)
        lacking = {key: at for at, key in enumerate(keys)}
    cache.folder.mkdir(parents=True, exist_ok=True)
    os.utime(cache.folder)
    _make_room(place.path, cache.folder, sum(needed[key] for key in lacking), limit)
    if lacking:
        logger.info("decoding %d images once", len(lacking))
        _fill(cache, lacking, decode)
    return cache


def _make_room(folder: Path, own: Path, needed: int, limit: int) -> None:
    """Remove caches of other settings, longest unused first, until `needed` more bytes fit."""
    others = sorted((p for p in folder.iterdir() if p != own), key=lambda p: p.stat().st_mtime)
    used = sum(_used(p) for p in (own, *others)) + needed
    for other in others:
        if used <= limit:
            return
        used -= _used(other)
        shutil.rmtree(other, ignore_errors=True)


def _used(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.bin"))


def _fill(cache: DecodedCache, lacking: Mapping[str, int], decode: Callable[[int], Resized]) -> None:
    waiting = iter(lacking.items())
    done, said = 0, time.monotonic()
    # Threads are enough: decoding and resizing release the interpreter lock.
    with ThreadPoolExecutor(usable_cpus()) as pool:
        while chunk := list(islice(waiting, _CHUNK)):
            _write_shard(cache, [key for key, _ in chunk], pool.map(decode, [at for _, at in chunk]))
            done += len(chunk)
            if time.monotonic() - said > _SECONDS_BETWEEN_LOGS:
                said = time.monotonic()
                logger.info("decoded %d of %d images", done, len(lacking))


def _write_shard(cache: DecodedCache, keys: Sequence[str], images: Iterable[Resized]) -> None:
    """Write pixels first and their index last, so that an interrupted shard is never read."""
    name = uuid.uuid4().hex
    entries: dict[str, Entry] = {}
    offset = 0
    with (cache.folder / f"{name}.bin").open("wb") as stream:
        for key, resized in zip(keys, images, strict=True):
            raw = resized.image.tobytes()
            if resized.mask is not None:
                raw += resized.mask.tobytes()
            height, width, channels = resized.image.shape
            entries[key] = Entry(
                f"{name}.bin",
                offset,
                (height, width, channels),
                resized.original,
                resized.mask is not None,
                zlib.crc32(raw),
            )
            offset += stream.write(raw)
        stream.flush()
        os.fsync(stream.fileno())
    index = {key: list(astuple(entry)[1:]) for key, entry in entries.items()}
    write_atomic(cache.folder / f"{name}.json", json.dumps(index))
    cache.entries.update(entries)


def _read_index(file: Path) -> dict[str, Entry]:
    shard = file.with_suffix(".bin").name
    try:
        index = json.loads(file.read_text())
        return {
            key: Entry(
                shard, int(offset), _shape(shape), (int(size[0]), int(size[1])), bool(mask), int(checksum)
            )
            for key, (offset, shape, size, mask, checksum) in index.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, IndexError):
        logger.warning("the index %s is damaged; its images are decoded again", file.name)
        return {}


def _shape(value: Sequence[int]) -> tuple[int, int, int]:
    height, width, channels = (int(part) for part in value)
    return height, width, channels
