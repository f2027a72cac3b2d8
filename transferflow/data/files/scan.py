"""What stands in a folder, at any depth."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from transferflow.data.files.fence import Fence
from transferflow.data.files.members import Refusal, link_reason
from transferflow.data.files.paths import DESCRIPTION, IMAGE_SUFFIXES, is_hidden, is_left_behind, is_unicode
from transferflow.data.records import Finding

_LISTED = "a link to a folder that is listed already: its images count once"
_SHOWN = 5


@dataclass
class Scan:
    """What stands below a folder.

    Attributes:
        files: POSIX paths below the root of the files with a wanted suffix, sorted.
        ignored: How many other files there are, by suffix; `hidden` for hidden ones.
        folders: Names of the folders directly below the scanned one, sorted.
        findings: Files that were refused or skipped.
        left_behind: What systems and file servers left: files, and folders as one.
    """

    files: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    folders: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)

    @property
    def others(self) -> str:
        """What else there is, in words that follow the files that were wanted; empty if there is nothing."""
        counts = ", ".join(f"{count} {suffix}" for suffix, count in self.ignored.most_common(_SHOWN))
        refused = [finding for finding in self.findings if finding.kind == "outside_root"]
        links = f"; {len(refused)} refused, {refused[0].where} first: {refused[0].reason}" if refused else ""
        return links + (f"; other files: {counts}" if counts else "")


def scan_folder(fence: Fence, below: str = ".", suffixes: frozenset[str] = IMAGE_SUFFIXES) -> Scan:
    """List the files with one of `suffixes` in a folder, at any depth; an empty set takes every suffix.

    Hidden files and what file servers leave are only counted. Links are followed as long as they stay inside
    the fence, and each folder is listed once.
    """
    scan = Scan()
    start = fence.root / below
    for entry in _walk(start, fence, scan):
        _sort_in(entry, fence, suffixes, scan)
    scan.files.sort()
    scan.findings += _left_behind(scan)
    scan.findings.sort(key=lambda finding: finding.where)
    scan.folders = sorted(e.name for e in os.scandir(start) if e.is_dir() and not is_hidden(e.name))
    return scan


def _left_behind(scan: Scan) -> Iterator[Finding]:
    if scan.left_behind:
        last = (path.rpartition("/")[2] for path in scan.left_behind)
        names = Counter("._*" if name.startswith("._") else name for name in last)
        shown = ", ".join(f"{name} ({count})" for name, count in names.most_common(_SHOWN))
        reason = f"what systems and file servers leave is skipped: {shown}"
        yield Finding("left_behind", "warning", min(scan.left_behind), reason)


def _sort_in(entry: os.DirEntry[str], fence: Fence, suffixes: frozenset[str], scan: Scan) -> None:
    path = os.path.relpath(entry.path, fence.root).replace(os.sep, "/")
    suffix = PurePosixPath(entry.name).suffix.lower()
    if path == DESCRIPTION:
        return
    if suffixes and suffix not in suffixes:
        scan.ignored[suffix or "no suffix"] += 1
    elif not is_unicode(path):
        scan.findings.append(Refusal("bad_name", "the file name is not valid UTF-8").finding(ascii(path)))
    elif entry.is_symlink() and not fence.holds(entry.path):
        scan.findings.append(Refusal("outside_root", link_reason(entry.path)).finding(path))
    elif not entry.is_file():
        broken = entry.is_symlink()
        refusal = (
            Refusal("missing", "a broken link") if broken else Refusal("not_a_file", "not a regular file")
        )
        scan.findings.append(refusal.finding(path))
    else:
        scan.files.append(path)


def _walk(start: Path, fence: Fence, scan: Scan) -> Iterator[os.DirEntry[str]]:
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
            scan.findings.append(Finding("unreadable_folder", "error", _shown(folder, fence.root), reason))
            continue
        if (status.st_dev, status.st_ino) in seen:
            scan.findings.append(Finding("listed_folder", "warning", _shown(folder, fence.root), _LISTED))
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            if is_left_behind(entry.name):
                scan.left_behind.append(_shown(entry.path, fence.root))
            elif is_hidden(entry.name):
                scan.ignored["hidden"] += 1
            elif not entry.is_dir():
                yield entry
            elif not entry.is_symlink():
                folders.append(entry.path)
            elif fence.holds(entry.path):
                heapq.heappush(links, entry.path)
            else:
                refusal = Refusal("outside_root", link_reason(entry.path))
                scan.findings.append(refusal.finding(_shown(entry.path, fence.root)))


def _shown(path: str, root: Path) -> str:
    return ascii(os.path.relpath(path, root)).strip("'")
