"""Folder names that say the split, and those that only look so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from transferflow.data.records import SPLITS, Finding, Listing, Record, SplitName
from transferflow.spec.class_names import plain_name
from transferflow.text import counted

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
_SPLIT_NAMES = frozenset(
    {"split", "splits", "subset", "set", "dataset", "partition", "phase", "usage", "fold", "datasplit"}
)
_WORD = re.compile(r"[a-z]+")
_ENDINGS = ("set", "data", "images", "imgs")


def split_of(word: str) -> SplitName | None:
    """Split that a folder or a cell names, whatever the case; `None` if it is no such word."""
    return SPLIT_WORDS.get(plain_name(word).lower())


def is_split_name(name: str) -> bool:
    """Whether a column or an entry is called like one that says splits."""
    return "".join(c for c in name.lower() if c.isalnum()) in _SPLIT_NAMES


def decide_split_folders(names: Iterable[str]) -> dict[str, SplitName]:
    """Decide which of the top folders are splits; empty when they are classes.

    They are splits when one is `train` and another one is `val` or `test`, or `train` stands alone.
    """
    known = {name: split for name in names if (split := split_of(name)) is not None}
    others = set(names) - set(known)
    if "train" not in known.values():
        return {}
    return known if len(set(known.values())) > 1 or not others else {}


def declare_by_folders(listing: Listing, below: str, *, expected: bool) -> Listing:
    """Take the split from folders called train, val or test, where nothing else says it of any image.

    They have to be two at least: one alone is the name of all the images.

    Args:
        listing: Whose records are looked at.
        below: Folder of the images, whose own name says nothing.
        expected: Whether the format is laid out so; else it is said.
    """
    if any(record.split for record in listing.records):
        return listing
    words = [_word_of(record.path, below) for record in listing.records]
    found = Counter(word for word in words if word is not None)
    if len(found) < 2 and len(listing.records) == found.total():
        findings = [lone_split_finding(word, listing.records) for word in found]
        findings += _unread(listing.records, below)
        return replace(listing, findings=(*listing.findings, *findings))
    if not found:
        return replace(listing, findings=(*listing.findings, *_unread(listing.records, below)))
    records = tuple(replace(r, split=word) for r, word in zip(listing.records, words, strict=True))
    counts = ", ".join(f"{split} {found[split]}" for split in SPLITS)
    said = Finding(
        "split_folders", "warning", records[0].path, f"folders of the paths say the split: {counts}"
    )
    return replace(listing, records=records, findings=(*listing.findings, *([] if expected else [said])))


def declare_below_classes(records: Sequence[Record], depth: int) -> tuple[list[Record], list[Finding]]:
    """Take the split from folders below the class folders, where they are two different ones.

    Args:
        records: Of class folders, without a split.
        depth: Folders down to the class, itself counted.
    """
    parts = [record.path.split("/")[depth - 1 : -1] for record in records]
    below = [[name for name in rest if name != own] for own, *rest in parts]
    known = {name: split_of(name) for name in {name for parts in below for name in parts}}
    words = [next((word for part in parts if (word := known[part])), None) for parts in below]
    found = Counter(word for word in words if word)
    if len(found) < 2:
        return [*records], unread_folders(Counter(name for parts in below for name in dict.fromkeys(parts)))
    counts = ", ".join(f"{split} {found[split]}" for split in SPLITS)
    said = f"folders below the class folders say the split: {counts}"
    declared = [replace(record, split=word) for record, word in zip(records, words, strict=True)]
    return declared, [Finding("split_folders", "warning", records[0].path, said)]


def lone_split_finding(word: SplitName, records: Sequence[Record]) -> Finding:
    """All images stand in one folder of such a name."""
    reason = f"all images stand in a folder called {word}, and in no other split: the stable hash splits them"
    return Finding("lone_split", "warning", records[0].path, reason)


def _folders(path: str, below: str) -> list[str]:
    inside = path if below == "." else path.removeprefix(f"{below}/")
    return inside.split("/")[:-1]


def _word_of(path: str, below: str) -> SplitName | None:
    return next((word for part in _folders(path, below) if (word := split_of(part)) is not None), None)


def _unread(records: Sequence[Record], below: str) -> list[Finding]:
    names = Counter(name for record in records for name in dict.fromkeys(_folders(record.path, below)))
    return unread_folders(names)


def unread_folders(names: Mapping[str, int]) -> list[Finding]:
    """An error where folders are named like different splits, such as `seg_train` and `test_set`.

    Args:
        names: Folders and how many images stand in them.
    """
    alike = {name: split for name in names if (split := looks_like(name)) is not None}
    if len(set(alike.values())) < 2:
        return []
    shown = ", ".join(f"{name} ({counted(names[name], 'image')})" for name in list(alike)[:6])
    reason = f"folders are named like splits, but not read as such: {shown}; call them train, val and test"
    return [Finding("unread_split", "error", next(iter(alike)), reason)]


def looks_like(name: str) -> SplitName | None:
    """Split of which a name has a word: `seg_train`, `train2017`, `Test-Images`, `trainingset`."""
    for word in _WORD.findall(name.lower()):
        plain = next((word.removesuffix(ending) for ending in _ENDINGS if word.endswith(ending)), word)
        if (split := SPLIT_WORDS.get(plain or word)) is not None:
            return split
    return None
