"""What killed processes left: folders and files that were to be renamed into place and never were."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from transferflow.store.locks import FORGOTTEN_SECONDS, KeyLock

_BESIDE = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}(-journal|-wal|-shm)?")  # what sqlite adds goes, too
_LOOSE = ("history/*", "reports", "reports/*")
"""Folders of single files, whose writers hold no lock and need moments."""


def litter_of(path: Path) -> Iterator[Path]:
    """What was to become `path`; whose it is only the owner of its key can tell."""
    for beside in path.parent.glob(f".{path.name}.*"):
        if _BESIDE.fullmatch(beside.name):
            yield beside


def litter_in(folder: Path) -> Iterator[Path]:
    """What was to become something in a folder; for the owner of the folder's key."""
    return (path for path in folder.glob(".*") if _BESIDE.fullmatch(path.name))


def sweep_home(home: Path) -> None:
    """Remove litter of artifacts whose key nobody owns, and of single files after a day.

    Somebody else's work under way is never touched: a folder belongs to the owner of its key's lock.
    """
    for beside in home.glob("artifacts/*/.*"):
        found = _BESIDE.fullmatch(beside.name)
        if found is None:
            continue
        lock = KeyLock(home, beside.parent.name, found["name"])
        lock.break_forgotten()
        with lock.hold_if_free() as is_mine:
            if is_mine:
                shutil.rmtree(beside, ignore_errors=True)
    for pattern in _LOOSE:
        for beside in home.glob(f"{pattern}/.*"):
            if _BESIDE.fullmatch(beside.name) and _is_old(beside):
                beside.unlink(missing_ok=True)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > FORGOTTEN_SECONDS
    except OSError:
        return False
