"""What can happen to a file behind our back; for `stress.py` and the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def flip(file: Path) -> None:
    """One bit in the middle."""
    raw = bytearray(file.read_bytes())
    if raw:
        raw[len(raw) // 2] ^= 0x10
    file.write_bytes(raw)


def cut(file: Path) -> None:
    """The second half is missing."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    """Nothing is left in it."""
    file.write_bytes(b"")


def remove(file: Path) -> None:
    """The file is gone."""
    file.unlink()


def replace_by_a_folder(file: Path) -> None:
    """A folder stands in its place."""
    file.unlink()
    file.mkdir()


DAMAGES: tuple[Callable[[Path], None], ...] = (flip, cut, empty, remove, replace_by_a_folder)
