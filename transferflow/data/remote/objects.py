"""The files of a remote folder, through fsspec: listed with what tells them apart, and fetched one by one."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from transferflow.errors import DataError, MissingDependencyError, TransferflowError
from transferflow.text import one_line, without_secrets

LOGIN_HINT = (
    "a login goes where fsspec looks for it: AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or "
    "~/.aws for s3 (AWS_ENDPOINT_URL for a server of your own), ~/.config/fsspec for any"
)
_STAMPS = ("ETag", "etag", "md5Hash", "content_md5")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
_OF_THIS_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_SECOND = 1_000_000_000
_PATIENCE = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2, "mode": "standard"}}
"""Of botocore, which s3fs asks again on its own: by defaults a dead server is waited for for minutes."""


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
        import fsspec  # 0.1 s, which data on a disk can do without

        self.address = address.rstrip("/")
        scheme = address.partition("://")[0]
        options = {"config_kwargs": _PATIENCE} if scheme == "s3" else {}
        try:
            # A listing that a former call left would hide what has changed since.
            self._system, path = fsspec.core.url_to_fs(self.address, use_listings_cache=False, **options)
        except ImportError as error:
            extra = "pip install 'transferflow[s3]'" if scheme == "s3" else one_line(str(error))
            raise MissingDependencyError(
                f"no support for {scheme}:// is installed", where="data.root", hint=extra
            ) from error
        self._path = str(path).rstrip("/")

    def list(self) -> list[RemoteFile]:
        """All files at any depth, sorted by path.

        Raises:
            DataError: If there are none, they can't be listed, or one has a name that no file can have.
        """
        with self._in_our_words():
            found: Mapping[str, Mapping[str, Any]] = self._system.find(self._path, detail=True)
        files = [
            _as_listed(name[len(self._path) :].lstrip("/"), facts)
            for name, facts in found.items()
            if not name.endswith("/") and name != self._path  # consoles mark folders by empty objects
        ]
        if not files:
            raise self._error("the data folder does not exist, or holds no file")
        return sorted(files, key=lambda file: file.path)

    def fetch(self, file: RemoteFile, target: Path) -> None:
        """Write a file's content to `target`.

        Raises:
            MovedError: If it is gone, or no longer what was listed.
            DataError: If it can't be read.
        """
        with target.open("wb") as out, self._in_our_words():
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

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        """Turn whatever clients of object stores raise into a `DataError`; a full disk stays what it is."""
        try:
            yield
        except (TransferflowError, MovedError):
            raise
        except FileNotFoundError as error:
            raise self._error("the data folder does not exist", error) from error
        except PermissionError as error:
            raise self._error("the data folder may not be read with this login", error) from error
        except OSError as error:
            if error.errno in _OF_THIS_DISK:
                raise
            raise self._error("the data folder can't be reached", error) from error
        except Exception as error:
            missing = "Credentials" in type(error).__name__
            what = "no login for the data folder was found" if missing else "the data folder can't be reached"
            raise self._error(what, error) from error

    def _error(self, what: str, error: Exception | None = None) -> DataError:
        reason = "" if error is None else f": {one_line(without_secrets(str(error))) or type(error).__name__}"
        return DataError(
            what,
            where="data.root",
            found=f"{self.address}{reason}",
            hint=f"check the address, the network and the login; {LOGIN_HINT}",
        )


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
