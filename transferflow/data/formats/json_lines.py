"""Lines of the entries of a COCO file: looked up only for what is shown to a person."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from transferflow.data.records import Finding

_ENTRY = re.compile(r"(?P<file>.+\.json):(?P<key>images|annotations|categories)\[(?P<index>\d+)\]")
_GAP = re.compile(r"[\s,:]*")
Entry = tuple[str, int]


def with_lines(findings: Sequence[Finding], root: Path) -> list[Finding]:
    """Findings whose place is an entry of a JSON file, `a.json:images[7]`, say its line too.

    Costs another reading of the file, and nothing if no finding is of that kind.

    Args:
        findings: Any findings.
        root: Folder of the data set.
    """
    matches = [_ENTRY.fullmatch(finding.where) for finding in findings]
    wanted: dict[str, set[Entry]] = defaultdict(set)
    for match in matches:
        if match:
            wanted[match["file"]].add(_entry(match))
    lines = {file: entry_lines(root / file, entries) for file, entries in wanted.items()}
    placed = []
    for finding, match in zip(findings, matches, strict=True):
        line = lines[match["file"]].get(_entry(match)) if match else None
        if match and line:
            where = f"{match['file']}:{line} {match['key']}[{match['index']}]"
            placed.append(replace(finding, where=where))
        else:
            placed.append(finding)
    return placed


def _entry(match: re.Match[str]) -> Entry:
    return match["key"], int(match["index"])


def entry_lines(file: Path, wanted: Collection[Entry]) -> dict[Entry, int]:
    """Line at which each wanted entry of the file's lists starts; none if the file can't be read any more.

    Args:
        file: A JSON file with an object of lists.
        wanted: Name of the list and index of the entry.
    """
    found: dict[Entry, int] = {}
    line, seen = 1, 0
    try:
        text = file.read_text(encoding="utf-8-sig")
        for key, index, at in _starts(text):
            if (key, index) in wanted:
                line, seen = line + text.count("\n", seen, at), at
                found[key, index] = line
    except (OSError, ValueError, IndexError, RecursionError):
        return {}
    return found


def _starts(text: str) -> Iterator[tuple[str, int, int]]:
    """List, index and offset of every entry; the parser itself walks over the values."""
    walk = json.JSONDecoder().raw_decode
    at = _skip(text, text.index("{") + 1)
    while text[at] != "}":
        key, at = walk(text, at)
        at = _skip(text, at)
        if text[at] == "[":
            at, index = _skip(text, at + 1), 0
            while text[at] != "]":
                yield key, index, at
                at, index = _skip(text, walk(text, at)[1]), index + 1
            at += 1
        else:
            at = walk(text, at)[1]
        at = _skip(text, at)


def _skip(text: str, at: int) -> int:
    """Offset of the next value, name or bracket."""
    gap = _GAP.match(text, at)
    return gap.end() if gap else at
