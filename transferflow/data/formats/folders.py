"""Folder names that say the split."""

from __future__ import annotations

from collections.abc import Iterable

from transferflow.data.records import SplitName

SPLIT_WORDS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def split_of(word: str) -> SplitName | None:
    """Split that a folder or a cell names, whatever the case; `None` if it is no such word."""
    return SPLIT_WORDS.get(word.strip().lower())


def decide_split_folders(names: Iterable[str]) -> dict[str, SplitName]:
    """Decide which of the top folders are splits; empty when they are classes.

    They are splits when one is `train` and another one is `val` or `test`, or `train` stands alone.
    """
    known = {name: split for name in names if (split := split_of(name)) is not None}
    others = set(names) - set(known)
    if "train" not in known.values():
        return {}
    return known if len(set(known.values())) > 1 or not others else {}
