"""Columns of a table that say splits in some way, and that nobody reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from transferflow.data.formats.folders import SPLIT_WORDS, is_split_name, split_of
from transferflow.data.records import Finding, Severity

_MANY_WORDS = 50
"""A column of more words says no splits."""
_YES_OR_NO = frozenset({"0", "1", "0.0", "1.0", "true", "false", "yes", "no", "t", "f", "y", "n"})
_ENDINGS = ("image", "images", "set", "sample", "row")


class UnreadColumns:
    """Counts the words of columns that are called as if they said splits.

    Args:
        header: All columns of the table.
        read: Columns that are read as something.
    """

    def __init__(self, header: Sequence[str], read: Collection[str]) -> None:
        self._words: dict[str, Counter[str]] = {
            name: Counter() for name in header if name not in read and (is_split_name(name) or _flag(name))
        }

    @property
    def names(self) -> Collection[str]:
        """Columns to read for it."""
        return self._words.keys()

    def take(self, cells: Mapping[str, str]) -> None:
        """Count the words of a row."""
        for name, words in self._words.items():
            if len(words) <= _MANY_WORDS:
                words[cells.get(name, "").strip()] += 1

    def findings(self, where: str) -> Iterator[Finding]:
        """What they say of the splits.

        Args:
            where: The table's header.
        """
        for name, words in self._words.items():
            if len(said := {word.lower() for word in words if word}) < 2:
                continue
            shown = ", ".join(f"{word or '(empty)'} {count}" for word, count in words.most_common(6))
            if (split := _flag(name)) and said <= _YES_OR_NO:
                says = f"which images are for {split}"
                todo = "write train, val or test into a column `split`, or take this one out"
                # An image may be valid in another sense.
                severity: Severity = "warning" if "valid" in name.lower() else "error"
                kind = "unread_split"
            elif all(map(split_of, said)):
                says = "splits"
                todo = f"set data.columns.split: {name}, or take it out of the table"
                kind, severity = "unread_split", "error"
            elif is_split_name(name) and all(word.removesuffix(".0").isdecimal() for word in said):
                says = "numbers"
                todo = "for a fixed split, write train, val or test into a column `split`"
                kind, severity = "unread_fold", "warning"
            else:
                continue
            reason = f"the column {name!r} says {says} ({shown}), and is not read: {todo}"
            yield Finding(kind, severity, where, reason)


def _flag(name: str) -> str:
    """Split of which a column such as `is_test` or `is_training_image` says yes or no; or empty."""
    word = "".join(c for c in name.lower() if c.isalpha()).removeprefix("is")
    plain = next((word.removesuffix(end) for end in _ENDINGS if word.endswith(end)), word)
    return SPLIT_WORDS.get(plain, "")
