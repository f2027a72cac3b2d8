"""Which file belongs to which image: told by the whole path below their folders, not by a bare name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from transferflow.data.records import Finding
from transferflow.text import counted


def key_of(file: str, folder: str) -> str:
    """Path below a folder without extension: what a file and its partner have in common."""
    inside = file if folder == "." else file.removeprefix(f"{folder}/")
    return PurePosixPath(inside).with_suffix("").as_posix()


class Partners:
    """Files that images or annotations may belong with.

    Args:
        files: POSIX paths below the root.
        folder: Folder that they stand in.
    """

    def __init__(self, files: Iterable[str], folder: str) -> None:
        self._by_key: defaultdict[str, list[str]] = defaultdict(list)
        self._by_name: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for file in files:
            key = key_of(file, folder)
            self._by_key[key].append(file)
            self._by_name[_name(key)].append((key, file))

    def of(self, key: str) -> list[str]:
        """Files of a key: one; several, which can't be told apart; or none.

        The mirrored path comes first: `a/1` belongs to `a/1`. Where there is none, one side may have folders
        that the other one lacks: `1` and `a/1` belong together, `b/1` and `a/1` do not.
        """
        if key in self._by_key:
            return self._by_key[key]
        return [
            file
            for other, file in self._by_name.get(_name(key), ())
            if other.endswith(f"/{key}") or key.endswith(f"/{other}")
        ]


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def ambiguous_finding(where: str, files: Iterable[str]) -> Finding:
    """Several files could be the partner of one."""
    reason = f"several files could belong to it: {', '.join(files)}"
    return Finding("ambiguous", "error", where, f"{reason}; keep one, or give them the same folders")


def shared_finding(where: str, other: str, file: str) -> Finding:
    """Two files have the same partner."""
    reason = f"{other} belongs to {file} as well; keep one of the two, or name them apart"
    return Finding("shared_annotation", "error", where, reason)


def two_splits_finding(where: str, count: int, other: str, one: str, first: str, place: str) -> Finding:
    """Images that two lists name for two splits.

    Args:
        where: Where the second list says so of the first of them.
        count: How many images.
        other: Split of the second list.
        one: Split of the first list.
        first: The first of them.
        place: Where the first list names it.
    """
    said = counted(count, f"name of {other} is", f"names of {other} are")
    reason = f"{said} in {one} too (the first: {first}, {place})"
    return Finding("two_splits", "error", where, f"{reason}: an image has one split")
