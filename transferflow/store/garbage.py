"""Artifacts that nobody needs any more, and the marks that keep those in use.

```
<home>/in-use/<stage>-<key>.lock   held together by the processes that asked for the artifact
```
The kernel frees a mark when its process ends, by `kill -9` too.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from transferflow.store.in_use import FolderInUse, unused
from transferflow.store.locks import KeyLock

_MARKS: deque[FolderInUse] = deque(maxlen=64)
"""Marks of this process, which lets go of the oldest: a run asks for four artifacts."""


@dataclass(frozen=True)
class Stored:
    """A folder of a home that can be removed as a whole.

    Attributes:
        kind: `artifacts`, `work`, or `tracking`: what trainings told that were never registered.
        stage: Stage that makes it.
        key: Its content key.
        path: The folder.
        size: Bytes of its files.
        changed: When it was published, or its work was last written to; seconds since 1970.
    """

    kind: str
    stage: str
    key: str
    path: Path
    size: int
    changed: float


def in_use(home: Path, stage: str, key: str) -> None:
    """Keep an artifact from being removed for as long as this process lives."""
    with suppress(PermissionError):  # of a home that others keep, and whose marks this user can't make
        _MARKS.append(FolderInUse(_mark(home, stage, key)))


def stored_in(home: Path) -> Iterator[Stored]:
    """All artifacts, and what is kept of trainings that are not finished, or not registered."""
    for kind in ("artifacts", "work", "tracking"):
        for path in sorted((home / kind).glob("*/*")):
            if path.is_dir() and not path.name.startswith("."):
                files = [file.stat() for file in path.rglob("*") if file.is_file()]
                size = sum(status.st_size for status in files)
                changed = max((status.st_mtime for status in files), default=path.stat().st_mtime)
                yield Stored(kind, path.parent.name, path.name, path, size, changed)


def remove_stored(home: Path, stored: Stored) -> bool:
    """Remove a folder unless a process makes it or has asked for it; returns whether it is gone."""
    lock = KeyLock(home, stored.stage, stored.key)
    with lock.hold_if_free() as is_mine, unused(_mark(home, stored.stage, stored.key)) as is_unused:
        if not (is_mine and is_unused):
            return False
        shutil.rmtree(stored.path, ignore_errors=True)
        shutil.rmtree(_mark(home, stored.stage, stored.key), ignore_errors=True)
    return not stored.path.exists()


def _mark(home: Path, stage: str, key: str) -> Path:
    return home / "in-use" / f"{stage}-{key}"
