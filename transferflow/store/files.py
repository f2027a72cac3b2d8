"""Single files: hashed, and written so that a reader sees the old one or the whole new one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BufferedReader
from pathlib import Path

_REMEMBERED = 1 << 16


def default_home() -> Path:
    """`$TRANSFERFLOW_HOME`, or `.transferflow` in the working directory."""
    return Path(os.environ.get("TRANSFERFLOW_HOME") or ".transferflow").absolute()


def digest(value: object) -> str:
    """sha256 (hex) of the canonical JSON of `value`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def is_digest(text: str) -> bool:
    """Whether a text is a sha256 in hex."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def file_digest(path: Path) -> str:
    """sha256 (hex) of a file's bytes.

    Raises:
        OSError: If it can't be read, or is no regular file.
    """
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading; a pipe or a device is refused, as reading it might never end.

    Raises:
        OSError: If it can't be opened, or is no regular file; `IsADirectoryError` for a folder.
    """
    # A pipe without a writer would keep the opening itself waiting.
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, "not a regular file")
    return os.fdopen(number, "rb")


def read_bounded(file: Path, limit: int) -> bytes:
    """Content of a regular file.

    Raises:
        OSError: If it can't be read, is no regular file, or is longer than `limit`.
    """
    with open_regular(file) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit // 1_000_000} MB")
    return content


def known_digest(path: Path) -> str:
    """sha256 (hex) of a file, computed once per process for as long as nothing writes to it."""
    status = path.stat()
    return _digest_of(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=_REMEMBERED)
def _digest_of(path: Path, *version: int) -> str:
    return file_digest(path)


def name_beside(path: Path) -> Path:
    """A hidden name in the same folder, for what will be renamed to `path`."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


@contextmanager
def folder_beside(final: Path) -> Iterator[Path]:
    """Yield a new folder beside `final`, to be renamed to it; what is not renamed is removed in the end."""
    beside = name_beside(final)
    beside.mkdir(parents=True)
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write beside `path`, flush to disk, and rename: readers see the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = name_beside(path)
    try:
        with beside.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to disk: what was renamed in it then survives a power cut."""
    if os.name == "nt":  # opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
