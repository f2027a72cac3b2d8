"""The files that a prediction reads, and the folder that it writes to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from transferflow.data.files.dicom_pixels import DICOM_SUFFIXES
from transferflow.data.files.paths import IMAGE_SUFFIXES, is_hidden
from transferflow.errors import DataError, StoreError

SUFFIXES = IMAGE_SUFFIXES | DICOM_SUFFIXES


def list_images(paths: Sequence[Path], output: Path) -> list[Path]:
    """Files as they are given, and the image files in folders, sorted; each file once.

    Hidden files and folders and what file servers leave are left out, and so is what lies below `output`:
    masks and overlays of an earlier run are no images to look at.

    Args:
        paths: Files and folders.
        output: Folder for masks and overlays.

    Raises:
        DataError: If a path does not exist, a folder can't be read, or there are no images at all.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise DataError("no such file or folder", where=str(path))
        for image in _images_below(path, output) if path.is_dir() else [path]:
            found.setdefault(os.path.realpath(image), image)
    if not found:
        raise DataError(
            "no images in the given folders",
            where=", ".join(map(str, paths)),
            allowed=", ".join(sorted(SUFFIXES)),
        )
    return list(found.values())


def _images_below(folder: Path, output: Path) -> list[Path]:
    own, above = output.resolve(), folder.resolve()
    skips = own != above and own.is_relative_to(above)
    return sorted(
        path
        for path in _files_below(folder)
        if path.suffix.lower() in SUFFIXES
        and not (skips and Path(os.path.realpath(path)).is_relative_to(own))
    )


def _files_below(folder: Path) -> Iterator[Path]:
    """Visible files at any depth; links to folders are not followed."""
    folders = [folder]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError as error:
            reason = error.strerror or str(error)
            raise DataError("the folder can't be read", where=str(error.filename), found=reason) from error
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif not entry.is_dir():
                yield Path(entry.path)


def create_output(folder: Path) -> None:
    """Create the folder for masks and overlays.

    Raises:
        StoreError: If it can't be created, or not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = "" if os.access(folder, os.W_OK | os.X_OK) else "no right to write"
    except OSError as error:
        found = "a file" if isinstance(error, FileExistsError) else str(error.strerror)
    if found:
        raise StoreError(
            "masks and overlays can't be written there",
            where=str(folder),
            found=found,
            allowed="a folder that can be written to",
            hint="name another one with --output",
        )
