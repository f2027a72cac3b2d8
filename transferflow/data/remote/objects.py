"""The files of a remote folder, through fsspec: listed with what tells them apart, and fetched one by one."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from transferflow.errors import DataError
from transferflow.objects import ObjectFolder

_STAMPS = ("ETag", "etag", "md5Hash", "content_md5")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
_SECOND = 1_000_000_000


@dataclass(frozen=True)
class RemoteFile:
    """A file as it was listed.

    Attributes:
        path: Below the folder, with `/`.
        size: Bytes.
        version: Nanoseconds since 1970 when it was written last. Where there is an etag, its hash stands in
            the microseconds of the second before: so two contents that were written in one second differ by
            size or time as local files do, and none is of the future.
    """

    path: str
    size: int
    version: int


class MovedError(Exception):
    """A file is no longer what was listed."""


class RemoteFolder:
    """A folder of an object store."""

    def __init__(self, address: str) -> None:
        """Name the folder; nothing is asked of the server yet.

        Raises:
            MissingDependencyError: If the package for its kind of address is not installed.
        """
        self.address = address.rstrip("/")
        self._folder = ObjectFolder(self.address, "the data folder", "data.root", DataError)
        self._system, self._path = self._folder.open()

    def list(self) -> list[RemoteFile]:
        """All files at any depth, sorted by path.

        Raises:
            DataError: If there are none, they can't be listed, or one has a name that no file can have.
        """
        with self._folder.in_our_words():
            found: Mapping[str, Mapping[str, Any]] = self._system.find(self._path, detail=True)
        files = [
            _as_listed(name[len(self._path) :].lstrip("/"), facts)
            for name, facts in found.items()
            if not name.endswith("/") and name != self._path  # consoles mark folders by empty objects
        ]
        if not files:
            raise self._folder.error("the data folder does not exist, or holds no file")
        return sorted(files, key=lambda file: file.path)

    def fetch(self, file: RemoteFile, target: Path) -> None:
        """Write a file's content to `target`.

        Raises:
            MovedError: If it is gone, or no longer what was listed.
            DataError: If it can't be read.
        """
        with target.open("wb") as out, self._folder.in_our_words(MovedError):
            try:
                self._copy(file, out)
            except FileNotFoundError as error:
                raise MovedError(file.path) from error
            except OSError as error:
                if type(error).__name__ == "FileExpired":  # s3fs: it was replaced while it was read
                    raise MovedError(file.path) from error
                raise
        if target.stat().st_size != file.size:
            raise MovedError(file.path)

    def _copy(self, file: RemoteFile, out: BinaryIO) -> None:
        name = f"{self._path}/{file.path}"
        with self._system.open(name, "rb") as stream:
            facts = getattr(stream, "details", None) or self._system.info(name)
            if _as_listed(file.path, facts) != file:
                raise MovedError(file.path)
            shutil.copyfileobj(stream, out, 1 << 20)


def _as_listed(path: str, facts: Mapping[str, Any]) -> RemoteFile:
    stamp = next((str(facts[name]) for name in _STAMPS if facts.get(name)), "")
    time = next((facts[name] for name in _TIMES if facts.get(name)), 0.0)
    nanoseconds = round(_seconds(time) * 1000) * 1_000_000  # servers say milliseconds at most
    if stamp:
        rest = int(hashlib.sha256(stamp.encode()).hexdigest(), 16) % 1_000_000 * 1000
        nanoseconds = (nanoseconds // _SECOND - 1) * _SECOND + rest
    return RemoteFile(path, int(facts["size"] or 0), nanoseconds)


def _seconds(time: object) -> float:
    match time:
        case datetime():
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        case str():
            return datetime.fromisoformat(time).timestamp()
        case int() | float():
            return float(time)
        case _:
            return 0.0
