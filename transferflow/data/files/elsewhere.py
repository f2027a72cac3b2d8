"""Where a file lies that is not where a path says: a prefix, a folder or an extension too many or too few."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from transferflow.data.files.paths import IMAGE_SUFFIXES, is_hidden, is_unicode

_MOST_FILES = 200_000
"""Files that are looked through; a larger set is told without."""
_MOST_ASKED = 1000
"""Paths that are looked for; those after them have the same cause, or nobody reads them."""
_SHOWN = 3


class Elsewhere:
    """Finds files by their names alone; the folder is read when the first one is asked for.

    Args:
        root: Folder of the data set.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._asked = 0
        self._by_stem: dict[str, list[str]] | None = None

    def find(self, text: str) -> str:
        """`it lies at …`, in words that follow "no such file"; empty where no file is called so."""
        self._asked += 1
        if self._asked > _MOST_ASKED:
            return ""
        if self._by_stem is None:
            self._by_stem = _index(self._root)
        wanted = PurePosixPath(text.replace("\\", "/"))
        names = [wanted.name] if wanted.suffix.lower() not in IMAGE_SUFFIXES else [wanted.stem, wanted.name]
        if "%" in wanted.name:  # as addresses write blanks
            names = [*names, *map(unquote, names)]
        near = [path for name in dict.fromkeys(names) for path in self._by_stem.get(_plain(name), ())]
        exact = [path for path in near if _plain(PurePosixPath(path).name) == _plain(wanted.name)] or near
        if not exact:
            return ""
        best = max(_common_end(path, wanted) for path in exact)
        exact = [path for path in exact if _common_end(path, wanted) == best]
        if len(exact) == 1:
            return f"it lies at {exact[0]!r}"
        more = ", …" if len(exact) > _SHOWN else ""
        return f"{len(exact)} files are called so: {', '.join(map(repr, exact[:_SHOWN]))}{more}"


def _index(root: Path) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    count = 0
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        for name in sorted(name for name in files if is_unicode(name) and not is_hidden(name)):
            path = PurePosixPath(name)
            if path.suffix.lower() in IMAGE_SUFFIXES:
                found[_plain(path.stem)].append(name if below == "." else f"{below}/{name}")
        count += len(files)
        if count > _MOST_FILES:
            return {}
    return found


def _plain(name: str) -> str:
    """Case and Unicode's ways to write one character do not count."""
    return unicodedata.normalize("NFC", name).casefold()


def _common_end(path: str, wanted: PurePosixPath) -> int:
    """Folders that two paths have in common before their names."""
    count = 0
    for one, other in zip(
        reversed(PurePosixPath(path).parts[:-1]), reversed(wanted.parts[:-1]), strict=False
    ):
        if _plain(one) != _plain(other):
            break
        count += 1
    return count
