"""Names that are written in several ways which look alike: taken as one, and said."""

from __future__ import annotations

from collections import Counter

from transferflow.data.records import Finding
from transferflow.spec.class_names import plain_name


class Spellings:
    """Reads names; remembers how they were written."""

    def __init__(self) -> None:
        self._written: dict[str, Counter[str]] = {}
        self._first: dict[str, str] = {}

    def read(self, text: str, where: str, count: int = 1) -> str:
        """The plain name of a text; empty if it has no character that can be seen.

        Args:
            text: As it is written.
            where: File and line.
            count: How often it stands there.
        """
        name = plain_name(text)
        written = self._written.setdefault(name, Counter())
        if text.strip() not in written and written:
            self._first.setdefault(name, where)
        written[text.strip()] += count
        return name

    def findings(self) -> list[Finding]:
        """One finding per name with several spellings."""
        found = []
        for name, where in self._first.items():
            shown = ", ".join(f"{text!a} ({count})" for text, count in self._written[name].most_common())
            ways = len(self._written[name])
            reason = f"{name!r} is written in {ways} ways that look alike: {shown}; taken as one"
            found.append(Finding("spellings", "warning", where, reason))
        return found
