"""Arrow tables that processes share: pickled, one goes as the name of a file, which the other process maps.

A process that starts as a fork reads the table where it lies. Nobody writes to those pages, as Arrow keeps
no reference counts beside its values, so they stay shared. A process that starts anew would be sent a copy of
its own; of a mapped file the kernel holds one for all. Where no file can be written, it gets that copy.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from transferflow.logs import get_logger
from transferflow.store.in_use import FolderInUse, unused

logger = get_logger("store")
_PREFIX, _INNER = "transferflow-table-", "table"
_NEW_SECONDS = 60.0
"""A folder is in nobody's use for the first moment."""


class MappedTable:
    """A table that never changes; its file is written when it is first pickled, and goes with this object."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._file: Path | None = None
        self._in_use: FolderInUse | None = None

    def __reduce__(self) -> tuple[Callable[..., MappedTable], tuple[Path | bytes]]:
        try:
            self._file = self._file or self._write()
        except OSError as error:  # a small `/tmp` that is full; memory is what it costs
            logger.debug("a table is sent to a loader process, as no file takes it: %s", error)
            sink = pa.BufferOutputStream()
            _write_table(sink, self.table)
            return _load_sent, (sink.getvalue().to_pybytes(),)
        return _load_mapped, (self._file,)

    def _write(self) -> Path:
        _sweep()
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))  # which nobody else may write to
        remove = weakref.finalize(self, _remove, folder, os.getpid())
        file = folder / _INNER / "table.arrow"
        try:
            self._in_use = FolderInUse(folder / _INNER)
            with pa.OSFile(str(file), "wb") as sink:
                _write_table(sink, self.table)
        except OSError:
            remove()
            raise
        return file


def _write_table(sink: pa.NativeFile, table: pa.Table) -> None:
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)  # uncompressed, or it could not be read where it is mapped


def _read_table(source: pa.NativeFile) -> pa.Table:
    # A loader process is one thread.
    with pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(use_threads=False)) as reader:
        return reader.read_all()


def _load_mapped(file: Path) -> MappedTable:
    with pa.memory_map(str(file)) as source:
        found = MappedTable(_read_table(source))
    found._file = file  # whose owner it is not
    return found


def _load_sent(content: bytes) -> MappedTable:
    return MappedTable(_read_table(pa.BufferReader(content)))


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not a fork that ends
        shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Remove what this user's killed processes left."""
    if sys.platform == "win32":  # where nobody can tell which those are
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
            if is_own and time.time() - status.st_mtime > _NEW_SECONDS:
                with unused(folder / _INNER) as is_unused:
                    if is_unused:
                        shutil.rmtree(folder, ignore_errors=True)
