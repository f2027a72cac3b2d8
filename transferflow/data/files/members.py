"""Files that data files name: found inside the fence, or refused with a reason."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from transferflow.data.files.elsewhere import Elsewhere
from transferflow.data.files.fence import Fence
from transferflow.data.files.paths import is_unicode
from transferflow.data.records import Finding
from transferflow.errors import DataError
from transferflow.spec.wording import did_you_mean

_LOOKED_AT = 1000
"""Files of a folder among which a near name is looked for."""


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


def link_reason(path: str) -> str:
    """What is wrong with a link, in words that follow "is"."""
    real = os.path.realpath(path)
    return (
        f"a link that leaves the data folder, to {real}: name the folder where such files lie in "
        "data.link_roots, or copy them"
    )


def require_file(fence: Fence, name: str, key: str) -> Path:
    """Absolute path of the file that the spec names under `key`.

    Raises:
        DataError: If it is not a file below the root.
    """
    found, root = Members(fence).locate(name), fence.root
    if isinstance(found, Refusal):
        raise DataError(
            found.reason,
            where=key,
            found=str(root / name),
            hint=_near_file(fence, name)
            or f"put the file there, or change {key}; it is a path below data.root",
        )
    return root / found


def _near_file(fence: Fence, name: str) -> str:
    """`did you mean …`, where a file of a near name lies at the root or where the name says."""
    root = fence.root
    folders = {root, (root / name).parent}
    inside = (folder for folder in folders if folder.is_dir() and fence.holds(folder))
    files = [file for folder in inside for file in sorted(folder.iterdir())[:_LOOKED_AT] if file.is_file()]
    suffix = PurePosixPath(name).suffix.lower()
    near = {file.relative_to(root).as_posix() for file in files if file.suffix.lower() == suffix}
    return did_you_mean(name, sorted(near)) or (f"did you mean `{near.pop()}`?" if len(near) == 1 else "")


def require_folder(fence: Fence, name: str, key: str) -> str:
    """POSIX path below the root of the folder that the spec names under `key`.

    Raises:
        DataError: If it is not a folder below the root.
    """
    path = Path(os.path.normpath(fence.root / name))
    stays = path.is_relative_to(fence.root) and fence.holds(path)
    if not stays or not path.is_dir():
        what = "does not exist" if stays else "leaves data.root"
        raise DataError(
            f"the folder {name!r} {what}",
            where=key,
            found=str(path),
            hint=f"put the files there, or change {key}; it is a path below data.root",
        )
    return PurePosixPath(os.path.normpath(name)).as_posix()


class Members:
    """Finds files below one root; remembers the folders that it has resolved."""

    def __init__(self, fence: Fence) -> None:
        self._fence = fence
        self._prefix = f"{str(fence.root).rstrip(os.sep)}{os.sep}"
        self._folders: dict[str, bool] = {}
        self._elsewhere = Elsewhere(fence.root)

    def locate(self, text: str, *others: str) -> str | Refusal:
        """POSIX path below the root of the file that `text` names, or why it is refused.

        `text` may be absolute if it stands below the root, and may have been written on Windows. `others` are
        looked for in turn where it is missing.
        """
        found = self._find(text)
        for other in others:
            if isinstance(found, Refusal) and found.kind == "missing":
                instead = self._find(other)
                found = found if isinstance(instead, Refusal) else instead
        if isinstance(found, Refusal) and found.kind == "missing" and (place := self._elsewhere.find(text)):
            return Refusal("missing", f"{found.reason}; {place}")
        return found

    def _find(self, text: str) -> str | Refusal:
        if "\0" in text or not is_unicode(text):
            return Refusal("bad_name", f"{text!r} is not a valid file name")
        found = self._look(text)
        if isinstance(found, Refusal) and found.kind == "missing" and "\\" in text:
            other = self._look(text.replace("\\", "/"))
            found = found if isinstance(other, Refusal) and other.kind == "missing" else other
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
                if not self._fence.holds(path):
                    return Refusal("outside_root", f"{text!r} is {link_reason(path)}")
                status = os.stat(path)  # noqa: PTH116 - called for every row of large tables
        except OSError as error:
            reason = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror or error})"
            return Refusal("missing", f"no such file: {text!r}{reason}")
        folder = path.rpartition(os.sep)[0]
        if not self._folder_is_below(folder):
            return Refusal("outside_root", f"{text!r} goes through {link_reason(folder)}")
        if not stat.S_ISREG(status.st_mode):
            return Refusal("not_a_file", f"{text!r} is not a regular file")
        return path[len(root) :].replace(os.sep, "/")

    def _folder_is_below(self, folder: str) -> bool:
        if folder not in self._folders:
            self._folders[folder] = self._fence.holds(folder)
        return self._folders[folder]
