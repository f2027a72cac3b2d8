"""Paths that data files name: found below the root, or refused with a reason."""

from __future__ import annotations

import heapq
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from transferflow.data.records import Finding
from transferflow.errors import DataError
from transferflow.spec.wording import did_you_mean

IMAGE_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
}
"""What files are called, and what Pillow calls what they should hold."""
IMAGE_SUFFIXES = frozenset(IMAGE_FORMATS)
_LOOKED_AT = 1000
"""Files of a folder among which a near name is looked for."""
_LISTED = "a link to a folder that is listed already: its images count once"
_NOT_DATA = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
DESCRIPTION = "dataset.json"
"""What `datasets fetch` says, at the root, of the set that it wrote; no part of the data."""


@dataclass(frozen=True)
class Refusal:
    """Why a path is not used."""

    kind: Literal["missing", "outside_root", "bad_name", "not_a_file"]
    reason: str

    def finding(self, where: str) -> Finding:
        """Return the refusal as a finding: leaving the root is an error, the rest is quarantined."""
        return Finding(
            self.kind, "error" if self.kind == "outside_root" else "quarantine", where, self.reason
        )


def resolve_root(root: str, base: Path | None = None) -> Path:
    """Absolute folder of a data set, `root` being relative to `base` or the working directory.

    Raises:
        DataError: If there is no such folder.
    """
    asked = (base or Path.cwd()) / Path(root).expanduser()
    if not asked.is_dir():
        what = "is not a folder" if asked.exists() else "does not exist"
        raise DataError(
            f"the data folder {what}",
            where="data.root",
            found=str(asked.absolute()),
            hint="set data.root to the folder that holds the data; it is relative to where the command runs",
        )
    return asked.resolve()


def require_file(root: Path, name: str, key: str) -> Path:
    """Absolute path of the file that the spec names under `key`.

    Raises:
        DataError: If it is not a file below the root.
    """
    found = Members(root).locate(name)
    if isinstance(found, Refusal):
        raise DataError(
            found.reason,
            where=key,
            found=str(root / name),
            hint=_near_file(root, name)
            or f"put the file there, or change {key}; it is a path below data.root",
        )
    return root / found


def _near_file(root: Path, name: str) -> str:
    """`did you mean …`, where a file of a near name lies at the root or where the name says."""
    folders = {root, (root / name).parent}
    inside = (folder for folder in folders if folder.is_dir() and folder.resolve().is_relative_to(root))
    files = [file for folder in inside for file in sorted(folder.iterdir())[:_LOOKED_AT] if file.is_file()]
    near = {file.relative_to(root).as_posix() for file in files if file.suffix == PurePosixPath(name).suffix}
    return did_you_mean(name, sorted(near)) or (f"did you mean `{near.pop()}`?" if len(near) == 1 else "")


def require_folder(root: Path, name: str, key: str) -> str:
    """POSIX path below the root of the folder that the spec names under `key`.

    Raises:
        DataError: If it is not a folder below the root.
    """
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.is_dir():
        what = "does not exist" if path.is_relative_to(root) else "leaves data.root"
        raise DataError(
            f"the folder {name!r} {what}",
            where=key,
            found=str(path),
            hint=f"put the files there, or change {key}; it is a path below data.root",
        )
    return PurePosixPath(os.path.normpath(name)).as_posix()


def split_mask(mask: str) -> tuple[str, str | None]:
    """File of a record's mask, and the image's id where the file is a COCO JSON."""
    file, _, image_id = mask.rpartition("#")
    return (file, image_id) if file.endswith(".json") else (mask, None)


class Members:
    """Finds files below one root; remembers the folders that it has resolved."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._prefix = f"{str(root).rstrip(os.sep)}{os.sep}"
        self._folders: dict[str, bool] = {}

    def locate(self, text: str) -> str | Refusal:
        """POSIX path below the root of the file that `text` names, or why it is refused.

        `text` may be absolute if it stands below the root, and may have been written on Windows.
        """
        if "\0" in text or not is_unicode(text):
            return Refusal("bad_name", f"{text!r} is not a valid file name")
        found = self._look(text)
        if isinstance(found, Refusal) and found.kind == "missing" and "\\" in text:
            other = self._look(text.replace("\\", "/"))
            return found if isinstance(other, Refusal) and other.kind == "missing" else other
        return found

    def _look(self, text: str) -> str | Refusal:
        # Strings instead of Path objects, which are ten times slower: tables have a million rows.
        root = self._prefix
        path = os.path.normpath(os.path.join(root, text))  # noqa: PTH118
        if not path.startswith(root):
            return Refusal("outside_root", f"{text!r} leaves the data folder")
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                if not _is_below(path, self._root):
                    return Refusal("outside_root", f"{text!r} is a link that leaves the data folder")
                status = os.stat(path)  # noqa: PTH116 - called for every row of large tables
        except OSError as error:
            reason = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror or error})"
            return Refusal("missing", f"no such file: {text!r}{reason}")
        if not self._folder_is_below(path.rpartition(os.sep)[0]):
            return Refusal("outside_root", f"{text!r} goes through a link that leaves the data folder")
        if not stat.S_ISREG(status.st_mode):
            return Refusal("not_a_file", f"{text!r} is not a regular file")
        return path[len(root) :].replace(os.sep, "/")

    def _folder_is_below(self, folder: str) -> bool:
        if folder not in self._folders:
            self._folders[folder] = _is_below(folder, self._root)
        return self._folders[folder]


@dataclass
class Scan:
    """What stands below a folder.

    Attributes:
        files: POSIX paths below the root of the files with a wanted suffix, sorted.
        ignored: How many other files there are, by suffix; `hidden` for hidden ones.
        folders: Names of the folders directly below the scanned one, sorted.
        findings: Files that were refused.
    """

    files: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    folders: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def scan_folder(root: Path, below: str = ".", suffixes: frozenset[str] = IMAGE_SUFFIXES) -> Scan:
    """List the files with one of `suffixes` in a folder, at any depth; an empty set takes every suffix.

    Hidden files are only counted. Links are followed as long as they stay below the root, and each folder is
    listed once.
    """
    scan = Scan()
    start = root / below
    for entry in _walk(start, root, scan):
        _sort_in(entry, root, suffixes, scan)
    scan.files.sort()
    scan.findings.sort(key=lambda finding: finding.where)
    scan.folders = sorted(e.name for e in os.scandir(start) if e.is_dir() and not _is_hidden(e.name))
    return scan


def _sort_in(entry: os.DirEntry[str], root: Path, suffixes: frozenset[str], scan: Scan) -> None:
    path = os.path.relpath(entry.path, root).replace(os.sep, "/")
    suffix = PurePosixPath(entry.name).suffix.lower()
    if path == DESCRIPTION:
        return
    if suffixes and suffix not in suffixes:
        scan.ignored[suffix or "no suffix"] += 1
    elif not is_unicode(path):
        scan.findings.append(Refusal("bad_name", "the file name is not valid UTF-8").finding(ascii(path)))
    elif entry.is_symlink() and not _is_below(entry.path, root):
        refusal = Refusal("outside_root", "a link that leaves the data folder")
        scan.findings.append(refusal.finding(path))
    elif not entry.is_file():
        broken = entry.is_symlink()
        refusal = (
            Refusal("missing", "a broken link") if broken else Refusal("not_a_file", "not a regular file")
        )
        scan.findings.append(refusal.finding(path))
    else:
        scan.files.append(path)


def _walk(start: Path, root: Path, scan: Scan) -> Iterator[os.DirEntry[str]]:
    """Every visible entry that is no folder.

    Each folder is entered once: links come last, in order, and lead nowhere where their folder was listed.
    """
    folders, links = [str(start)], list[str]()
    seen: set[tuple[int, int]] = set()
    while folders or links:
        is_link = not folders
        folder = heapq.heappop(links) if is_link else folders.pop()
        try:
            status = os.stat(folder)  # noqa: PTH116 - one call per folder of large data sets
            entries = list(os.scandir(folder))
        except OSError as error:
            reason = f"the folder can't be read: {error.strerror or error}"
            scan.findings.append(Finding("unreadable_folder", "error", _shown(folder, root), reason))
            continue
        if (status.st_dev, status.st_ino) in seen:
            scan.findings.append(Finding("listed_folder", "warning", _shown(folder, root), _LISTED))
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            if _is_hidden(entry.name):
                scan.ignored["hidden"] += 1
            elif not entry.is_dir():
                yield entry
            elif not entry.is_symlink():
                folders.append(entry.path)
            elif _is_below(entry.path, root):
                heapq.heappush(links, entry.path)
            else:
                refusal = Refusal("outside_root", "a link to a folder outside the data folder")
                scan.findings.append(refusal.finding(_shown(entry.path, root)))


def _shown(path: str, root: Path) -> str:
    return ascii(os.path.relpath(path, root)).strip("'")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _NOT_DATA


def is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8 (file names on Linux need not be)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_below(path: str, root: Path) -> bool:
    try:
        return Path(path).resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        return False
