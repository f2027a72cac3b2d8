"""Cache folders that several processes share: one fills a folder at a time, and none is removed while in use.

```
<caches>/<name>/            one cache
<caches>/<name>.lock        held together by all who use it, and alone by who removes it
<caches>/<name>.filling     held by the one who writes to it
```
The kernel frees both locks when a process ends, by `kill -9` too.
"""

from __future__ import annotations

import os
import shutil
import sys
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import Timeout

from transferflow.logs import get_logger
from transferflow.store.file_locks import NO_FILE_LOCKS, file_lock

logger = get_logger("store")


if sys.platform == "win32":  # which lets nobody remove a file that another process has mapped

    def _share(descriptor: int) -> None: ...

    def _take_alone(descriptor: int) -> bool:
        return True

else:
    import fcntl

    def _share(descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except OSError as error:
            if error.errno not in NO_FILE_LOCKS:  # there nobody takes a folder alone either
                raise

    def _take_alone(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if isinstance(error, BlockingIOError) or error.errno in NO_FILE_LOCKS:
                return False
            raise
        return True


class FolderInUse:
    """Keeps a folder from being removed for as long as this object and its process live."""

    def __init__(self, folder: Path) -> None:
        """Wait for whoever is removing the folder, hold it from then on, and note that it is used now."""
        descriptor = _open(folder)
        self._release = weakref.finalize(self, os.close, descriptor)
        _held.add(self)
        _share(descriptor)
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)

    def release(self) -> None:
        """Let it be removed."""
        self._release()


def _let_go_of_all() -> None:
    for held in list(_held):
        held.release()


_held: weakref.WeakSet[FolderInUse] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_of_all)  # or an orphan would hold what nobody uses


@contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Yield whether nobody uses the folder; if so, nobody begins to within the block."""
    descriptor = _open(folder)
    try:
        yield _take_alone(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def filling(folder: Path) -> Iterator[None]:
    """Write to the folder alone for the length of the block; wait for another who does, and say so."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f"{folder.name}.filling")
    with ExitStack() as held:
        try:
            held.enter_context(file_lock(lock, timeout=0))
        except Timeout:
            logger.info("waiting for another process, which fills the same cache %s", folder.name[:12])
            held.enter_context(file_lock(lock))
        yield


def remove_if_unused(folder: Path) -> bool:
    """Remove the folder unless somebody uses it; returns whether it is gone."""
    with unused(folder) as is_unused:
        if is_unused:
            shutil.rmtree(folder, ignore_errors=True)
        return is_unused


def make_room(own: Path, needed: int, limit: int) -> bool:
    """Remove caches beside `own` that nobody uses, longest unused first.

    Args:
        own: The cache that wants to grow.
        needed: Bytes that it will grow by.
        limit: Bytes that all caches of its folder may take.

    Returns:
        Whether `needed` bytes fit now.
    """
    others = [path for path in own.parent.iterdir() if path.is_dir() and path != own]
    left = sum(size_of(path) for path in (own, *others)) + needed
    for other in sorted(others, key=lambda path: path.stat().st_mtime):
        if left <= limit:
            break
        size = size_of(other)
        if remove_if_unused(other):
            left -= size
    return left <= limit


def size_of(folder: Path) -> int:
    """Bytes of a cache's shards; their indexes are small beside them."""
    return sum(file.stat().st_size for file in folder.glob("*.bin"))


def _open(folder: Path) -> int:
    """Open the file that stands for the folder; it lies beside it, as the folder itself may go."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return os.open(folder.with_name(f"{folder.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
