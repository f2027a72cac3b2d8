"""Images and masks of a snapshot, decoded only while they are what the snapshot was made from."""

from __future__ import annotations

from pathlib import Path

from transferflow.data.files.decode import decode_image
from transferflow.data.files.geometry import Pixels
from transferflow.data.formats.masks import MaskFiles
from transferflow.data.snapshot.rows import Row
from transferflow.errors import DataError
from transferflow.spec.sections.intensity import Intensity
from transferflow.store import file_digest


def read_image(row: Row, channels: int, intensity: Intensity) -> Pixels:
    """The image of a row: uint8, H x W x channels.

    Raises:
        DataError: If its bytes are not those that were prepared, or it can't be read.
    """
    path = row.absolute_path
    _require_same(row.path, _digest(path, row.path), row.sha256)
    return decode_image(path, channels, intensity)


def read_true_mask(files: MaskFiles, row: Row) -> Pixels:
    """Class index of every pixel of a row's image as it is seen: uint8, H x W.

    Raises:
        DataError: If it has no mask, the mask is not the one that was prepared, or it can't be read.
    """
    path = row.absolute_mask
    if row.mask is None or path is None:
        raise DataError("the image has no mask", where=row.source or row.path)
    try:
        found = files.digest(row.mask)
    except OSError as error:
        raise _unreadable(row.mask, error) from error
    _require_same(row.mask, found, row.mask_sha256)
    return files.read(row.mask, row.seen)


def _digest(path: Path, name: str) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: OSError) -> DataError:
    return DataError(f"the file can't be read: {error.strerror or error}", where=name)


def _require_same(name: str, found: str, prepared: str | None) -> None:
    if found != prepared:
        raise DataError(
            "the file has changed since the data was prepared",
            where=name,
            hint="run the spec again, which prepares what is there now, with `--verify` if the file kept its "
            "size and time; or put the former file back",
        )
