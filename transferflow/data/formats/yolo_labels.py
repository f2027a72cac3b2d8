"""Where the label files of a YOLO data set stand, and those that belong to no image."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from transferflow.data.files.fence import Fence
from transferflow.data.files.paths import IMAGE_SUFFIXES
from transferflow.data.files.scan import scan_folder
from transferflow.data.formats.orphans import orphans_finding
from transferflow.data.records import Finding
from transferflow.spec.sections.data import YoloData

IMAGES, LABELS = "images", "labels"
_TEXT = frozenset({".txt"})


def label_paths(path: str, images: str) -> tuple[str, ...]:
    """Where an image's label file may stand: `labels` instead of `images`; beside that folder; beside it."""
    own = PurePosixPath(path).with_suffix(".txt")
    parts = own.parts
    if IMAGES in parts[:-1]:
        last = max(i for i, part in enumerate(parts[:-1]) if part == IMAGES)
        return ("/".join((*parts[:last], LABELS, *parts[last + 1 :])),)
    folder = PurePosixPath(images)
    if own.is_relative_to(folder):
        return str(folder.parent / LABELS / own.relative_to(folder)), str(own)
    return (str(own),)


def find_label_file(root: Path, path: str, images: str) -> str:
    """The label file of an image, `.TXT` too; where there is none, the place where it ought to stand."""
    choices = label_paths(path, images)
    capital = (str(PurePosixPath(file).with_suffix(".TXT")) for file in choices)
    return next((file for file in (*choices, *capital) if (root / file).exists()), choices[0])


def orphan_labels(fence: Fence, used: Sequence[str], images: str, data: YoloData) -> Iterator[Finding]:
    """Label files in the folders of those that are used, without an image of their name.

    Args:
        fence: What the data set is read from.
        used: The label files of the images.
        images: Folder of the images.
        data: The spec's `data` section.
    """
    known, root = set(used), fence.root
    found = {file for top in {_top(file) for file in used} for file in _label_files(fence, top)}
    stems = cache(_image_stems)  # of one listing: files come and go
    orphans = sorted(file for file in found - known if not _has_image(root, file, images, stems))
    orphans = [file for file in orphans if file != data.names and _holds_labels(root / file)]
    if orphans:
        what = "label files have no image"
        total = len(found | known)
        yield orphans_finding("lone_label", orphans[0], len(orphans), total, what, data.max_bad_fraction)


def _top(file: str) -> str:
    """The folder `labels` that a file stands below, or the one that it stands in."""
    parts = PurePosixPath(file).parts[:-1]
    if LABELS in parts:
        last = max(i for i, part in enumerate(parts) if part == LABELS)
        return "/".join(parts[: last + 1])
    return "/".join(parts) or "."


def _label_files(fence: Fence, top: str) -> list[str]:
    return scan_folder(fence, top, _TEXT).files if (fence.root / top).is_dir() else []


def _has_image(root: Path, file: str, images: str, stems: Callable[[Path], frozenset[str]]) -> bool:
    stem = PurePosixPath(file).stem
    return any(stem in stems(root / folder) for folder in _image_folders(file, images))


def _image_folders(file: str, images: str) -> Iterator[str]:
    """Folders whose images may have a label file here: what `label_paths` does, backwards."""
    folder = PurePosixPath(file).parent
    yield str(folder)
    if LABELS in folder.parts:
        last = max(i for i, part in enumerate(folder.parts) if part == LABELS)
        before, behind = folder.parts[:last], folder.parts[last + 1 :]
        yield "/".join((*before, IMAGES, *behind))
        yield str(PurePosixPath(images, *behind))


def _image_stems(folder: Path) -> frozenset[str]:
    try:
        names = [PurePosixPath(entry.name) for entry in os.scandir(folder)]
    except OSError:
        return frozenset()
    return frozenset(name.stem for name in names if name.suffix.lower() in IMAGE_SUFFIXES)


def _holds_labels(file: Path) -> bool:
    """Whether a text file starts like a label file: lists and notes may stand beside them."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as stream:
            cells = stream.readline(1000).split()
        return not cells or len([float(cell) for cell in cells]) > 4
    except (OSError, ValueError):
        return False
