"""Files that are no longer what a snapshot was made from, though their size and time may say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from transferflow.data.formats.mask_coding import index_coding
from transferflow.data.formats.masks import MaskFiles
from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.manifest import read_rows
from transferflow.data.snapshot.rows import Row
from transferflow.errors import DataError
from transferflow.store import file_digest


def changed_files(snapshot: DatasetSnapshot, workers: int) -> tuple[str, ...]:
    """Images and masks whose bytes are not those of the snapshot, or that can't be read; hashes all of them.

    Args:
        snapshot: The snapshot.
        workers: Threads that read.
    """
    coding = snapshot.coding or index_coding(snapshot.classes, 255)
    masks = MaskFiles(snapshot.root, snapshot.classes, coding)  # what their values mean is in no hash
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda row: tuple(_changed(row, masks)), read_rows(snapshot))
        return tuple(name for names in found for name in names)


def _changed(row: Row, masks: MaskFiles) -> Iterator[str]:
    if _digest(lambda: file_digest(row.absolute_path)) != row.sha256:
        yield row.path
    mask, prepared = row.mask, row.mask_sha256
    if mask is not None and prepared is not None and _digest(lambda: masks.digest(mask)) != prepared:
        yield mask


def _digest(compute: Callable[[], str]) -> str | None:
    try:
        return compute()
    except (OSError, DataError):
        return None


def without_facts(snapshot: DatasetSnapshot | None) -> DatasetSnapshot | None:
    """The snapshot, whose splits are kept, but of whose files nothing is taken for granted."""
    return None if snapshot is None else replace(snapshot, view={})
