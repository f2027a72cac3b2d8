"""From the `data` section to a listing: every record of a data set, before any image is opened."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from transferflow.data.files.fence import Fence, build_fence
from transferflow.data.files.paths import split_mask
from transferflow.data.formats.bounds import require_bounded
from transferflow.data.formats.folders import declare_by_folders
from transferflow.data.formats.groups import add_groups
from transferflow.data.formats.image_folder import list_image_folder
from transferflow.data.records import Listing, Record
from transferflow.spec.sections.data import (
    CocoData,
    Data,
    DicomData,
    ImageFolderData,
    MaskFolderData,
    TableData,
    VocData,
    YoloData,
)
from transferflow.spec.sections.truth import Truth


def load_listing(data: Data, truth: Truth, base: Path | None = None) -> Listing:
    """List a data set in any of the formats; no image is opened.

    Args:
        data: The spec's `data` section.
        truth: What is read of it: labels, boxes or masks.
        base: Folder that `data.root` is relative to; left out: the working directory.

    Raises:
        DataError: If the root, a table or an annotation file is missing or can't be read as such, or there
            is no end of classes.
    """
    fence = build_fence(data.root, data.link_roots, base)
    return replace(require_bounded(_list(data, truth, fence)), links=fence.links)


def _list(data: Data, truth: Truth, fence: Fence) -> Listing:
    group_by = data.split.group_by
    # Tables, COCO and DICOM name the groups themselves; a table beside the images does it for the others.
    # Each format loads what it needs by itself (NumPy, pyarrow): polls list every few minutes.
    match data:
        case ImageFolderData():
            return add_groups(list_image_folder(data, fence), group_by)
        case TableData():
            from transferflow.data.formats.table import list_table

            return declare_by_folders(list_table(data, truth, fence), ".", expected=False)
        case CocoData():
            from transferflow.data.formats.coco import list_coco

            return declare_by_folders(list_coco(data, truth, fence), data.images, expected=False)
        case VocData():
            from transferflow.data.formats.voc import list_voc

            listing = declare_by_folders(list_voc(data, fence), data.images, expected=True)
        case YoloData():
            from transferflow.data.formats.yolo import list_yolo

            listing = declare_by_folders(list_yolo(data, fence), data.images, expected=True)
        case MaskFolderData():
            from transferflow.data.formats.mask_folder import list_mask_folder

            listing = declare_by_folders(list_mask_folder(data, fence), data.images, expected=True)
        case DicomData():
            from transferflow.data.formats.dicom import list_dicom

            listing = list_dicom(data, truth, fence)
            return listing if data.file is None else declare_by_folders(listing, ".", expected=False)
        case _:
            assert_never(data)
    return add_groups(listing, group_by)


def listing_digest(listing: Listing) -> str:
    """sha256 (hex) over the records and the size and time of every file they name.

    It changes when a file is added, removed, touched or relabelled, and costs a `stat` per file.
    """
    state = hashlib.sha256(repr((str(listing.root), listing.classes)).encode())
    for finding in listing.findings:
        state.update(repr(finding).encode())
    files: dict[str, str] = {}
    for record in sorted(listing.records, key=lambda record: record.id):
        state.update(_line(record).encode())
        state.update(_stamp(f"{listing.root}/{record.path}").encode())
        if record.mask is not None:
            file = split_mask(record.mask)[0]
            if file not in files:
                files[file] = _stamp(f"{listing.root}/{file}")
            state.update(files[file].encode())
    return state.hexdigest()


def _line(record: Record) -> str:
    boxes = [(b.x_min, b.y_min, b.x_max, b.y_max, b.label, b.crowd, b.area) for b in record.boxes]
    return repr(
        (record.id, record.path, record.labels, boxes, record.mask, record.group, record.split, record.frame)
    )


def _stamp(path: str) -> str:
    try:
        status = os.stat(path)  # noqa: PTH116 - one call per file of large data sets
    except OSError:
        return "missing"
    return f"{status.st_size}:{status.st_mtime_ns};"
