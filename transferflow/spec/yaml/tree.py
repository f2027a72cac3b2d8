"""A spec before validation: plain YAML data in which every key and value knows where it was written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from transferflow.text import printable

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
Key = str | int

_SIMPLE_KEY = re.compile(r"[^\s.=\"']+")
_LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Place:
    """Where something was written.

    Attributes:
        source: File as the user named it, `preset:NAME`, or `--set KEY=VALUE`.
        line: From 1; 0 for the command line.
        column: From 1; 0 for the command line.
        note: How the source came in, when it is not the file that was asked for.
    """

    source: str
    line: int = 0
    column: int = 0
    note: str = ""

    def __str__(self) -> str:
        position = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.source}{position}{self.note}"


@dataclass(frozen=True)
class ScalarNode:
    """A single value; `raw` is its spelling in the file, `quoted` whether quotes made it text."""

    value: bool | int | float | str | None
    place: Place
    raw: str
    quoted: bool = False


@dataclass(frozen=True)
class ListNode:
    """A sequence."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True)
class Entry:
    """A key with its value."""

    key_place: Place
    node: Node


@dataclass(frozen=True)
class MapNode:
    """A mapping; keys are always text, as they are spelled.

    Attributes:
        entries: By key, in the order of the file.
        place: Of the first key, or of the opening brace.
        indexes: Whether keys that are numbers may point into a list (the path of a `--set`).
        dropped: Keys that a base file set for another variant of this section.
    """

    entries: dict[str, Entry]
    place: Place
    indexes: bool = False
    dropped: dict[str, Place] = field(default_factory=dict)

    def get(self, key: str) -> Node | None:
        """Value of `key`, if it is there."""
        entry = self.entries.get(key)
        return entry.node if entry else None


Node = ScalarNode | ListNode | MapNode


def plain(node: Node) -> Plain:
    """Drop the places."""
    match node:
        case ScalarNode(value=value):
            return value
        case ListNode(items=items):
            return [plain(item) for item in items]
        case MapNode(entries=entries):
            return {key: plain(entry.node) for key, entry in entries.items()}


def is_index(key: str) -> bool:
    """Whether a key of a path is a place in a list; no list has more than a billion."""
    return key.isdecimal() and len(key) < 10


def path_text(path: Sequence[Key]) -> str:
    """Spell a key path as `--set` takes it: `freeze.phases.0.epochs`, `optimizer.layer_lr."blocks.0"`."""
    return ".".join(
        str(key) if isinstance(key, int) or _SIMPLE_KEY.fullmatch(key) else f'"{shorten(key)}"'
        for key in path
    )


def shorten(text: str, limit: int = _LONGEST_SHOWN) -> str:
    """Cut long text and blank credentials in it: a message may end up in a public log."""
    return printable(text, limit)


def show(node: Node) -> str:
    """What stands there, in few words."""
    match node:
        case ScalarNode(value=None):
            return "nothing (null)"
        case ScalarNode(value=str(), raw=raw, quoted=quoted):
            return f"the text {shorten(raw)!r}" if quoted else shorten(raw)
        case ScalarNode(raw=raw):
            return shorten(raw)
        case ListNode(items=items):
            return f"a list of {len(items)}"
        case MapNode(entries=entries):
            keys = ", ".join(shorten(key, 20) for key in list(entries)[:5])
            return f"a mapping with {keys}{', …' if len(entries) > 5 else ''}" if keys else "an empty mapping"
