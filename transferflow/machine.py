"""Faults of the machine in words: a full disk, missing rights, exhausted memory, wherever they come up.

Any line that writes a file or asks for memory may fail, and libraries wrap what they see in errors of their
own. So nobody handles these faults where they happen: they are told from bugs here, once.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transferflow.errors import MachineError, TransferflowError, causes_of

_GO_ON = "run the same command again: what is finished is kept"
_MEGABYTE = 1_000_000
_LITTLE = 16 * _MEGABYTE
"""Free bytes under which a disk counts as the full one, where the error does not name it."""


@dataclass(frozen=True)
class _Fault:
    what: str
    hint: str


_FULL = _Fault(
    "the disk is full", f"make room there, then {_GO_ON}; cached images may be deleted at any time"
)
_QUOTA = _Fault("this user's share of the disk is used up", f"make room there, then {_GO_ON}")
_LIMIT = _Fault(
    "the file is larger than the disk or a limit of this user allows", f"see `ulimit -f`; then {_GO_ON}"
)
_RIGHTS = _Fault(
    "this user has not the right to read or write here",
    f"get the right (`ls -ld` shows who has it), or use another folder; then {_GO_ON}",
)
_READ_ONLY = _Fault(
    "the disk can't be written to", f"mount it writable, or use another folder; then {_GO_ON}"
)
_GONE = _Fault("a file or folder is missing", f"if something removed it or its disk meanwhile, {_GO_ON}")
_FOLDER = _Fault("a folder stands where a file should be", f"move it away, then {_GO_ON}")
_FILE = _Fault("a file stands where a folder should be", f"move it away, then {_GO_ON}")
_BROKEN = _Fault(
    "the disk reports an error", f"look at the disk (`dmesg`), or use another one; then {_GO_ON}"
)
_FILES = _Fault("too many files are open at once", f"raise the limit with `ulimit -n 4096`, then {_GO_ON}")
_DATABASE = _Fault("the database can't be opened", f"see that it can be read and written; then {_GO_ON}")
_MEMORY = _Fault(
    "the machine's memory is full",
    "lower training.batch_size, data.image_size or training.workers, or end other programs; then run the "
    "same command again",
)

_OF_PLACES = (_GONE, _FOLDER, _FILE)
_OF_ERRNO = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _QUOTA,
    errno.EFBIG: _LIMIT,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _READ_ONLY,
    errno.ENOENT: _GONE,
    errno.ESTALE: _GONE,
    errno.ENOTDIR: _FILE,
    errno.EISDIR: _FOLDER,
    errno.EEXIST: _FILE,
    errno.ENOTEMPTY: _FOLDER,
    errno.EIO: _BROKEN,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENOMEM: _MEMORY,
}
_OF_SQLITE = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _RIGHTS,
    sqlite3.SQLITE_CANTOPEN: _DATABASE,
    sqlite3.SQLITE_IOERR: _BROKEN,
    sqlite3.SQLITE_NOMEM: _MEMORY,
}
# Libraries in other languages say it in words alone.
_OF_WORDS = (
    (re.compile(r"No space left on device|database or disk is full"), _FULL),
    (re.compile(r"Disk quota exceeded"), _QUOTA),
    (re.compile(r"Read-only file system|attempt to write a readonly database"), _READ_ONLY),
    (
        re.compile(
            r"can't allocate memory|Cannot allocate memory|bad_alloc|Insufficient memory|start new thread"
        ),
        _MEMORY,
    ),
)


@contextmanager
def machine_faults_named(place: Path) -> Iterator[None]:
    """Raise faults of the machine as `MachineError`; everything else stays what it is.

    Args:
        place: The folder that is worked in, for errors that do not say where they happened.

    Raises:
        MachineError: Instead of whatever was raised for such a fault.
    """
    try:
        yield
    except TransferflowError:
        raise
    except Exception as error:
        named = machine_error(error, place)
        if named is None:
            raise
        raise named from error


def machine_error(error: BaseException, place: Path | None = None) -> MachineError | None:
    """The error to show for a fault of the machine, or `None` if it is something else.

    Args:
        error: What was raised; what it wraps is looked at, too.
        place: The folder that is worked in.
    """
    for cause in causes_of(error):
        fault = _fault_of(cause)
        if fault in _OF_PLACES and cause is not error:
            continue  # something else was raised since: looking for a file that may be missing is no fault
        if fault is not None:
            where = _where(cause) or _fullest(place) if fault is not _MEMORY else None
            return MachineError(
                fault.what,
                where=str(where or ""),
                found=_found(cause, where if fault is _FULL else None),
                hint=fault.hint,
            )
    return None


def _fault_of(cause: BaseException) -> _Fault | None:
    match cause:
        case ConnectionError():
            return None
        case MemoryError():
            return _MEMORY
        case OSError() if cause.errno in _OF_ERRNO:
            return _OF_ERRNO[cause.errno]
        case sqlite3.Error():
            return _OF_SQLITE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF)
        case _:
            text = str(cause)
            return next((fault for words, fault in _OF_WORDS if words.search(text)), None)


def _where(cause: BaseException) -> Path | None:
    """The file that an error names; of two, the one that was to be made."""
    names = (getattr(cause, "filename2", None), getattr(cause, "filename", None))
    return next((Path(os.fsdecode(name)) for name in names if isinstance(name, str | bytes)), None)


def _fullest(place: Path | None) -> Path | None:
    """Where it probably happened: in the folder that is worked in, or in that for temporary files."""
    temporary = Path(tempfile.gettempdir())
    return temporary if (_free(temporary) or _LITTLE) < _LITTLE else place


def _free(place: Path) -> int | None:
    for folder in (place, *place.parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


def _found(cause: BaseException, full: Path | None) -> str:
    free = None if full is None else _free(full)
    if free is not None:
        return f"only {free / _MEGABYTE:.1f} MB are free"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return lines[0]
