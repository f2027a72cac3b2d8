"""Which images a YOLO data set has: those of a folder, or those that lists name; and their splits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from transferflow.data.files.paths import Members, Refusal, require_folder, scan_folder
from transferflow.data.formats.folders import split_of
from transferflow.data.formats.yolo_names import SplitEntry
from transferflow.data.records import Finding, SplitName
from transferflow.errors import DataError

IMAGES = "images"


@dataclass(frozen=True)
class YoloImages:
    """The images and what was found on the way.

    Attributes:
        folder: Folder below the root that the labels' folder stands beside.
        splits: Split of each image, by POSIX path below the root; `None` lets the stable hash decide.
        findings: Paths that are refused, listed twice, or lead to no image.
    """

    folder: str
    splits: Mapping[str, SplitName | None]
    findings: list[Finding] = field(default_factory=list)


def find_yolo_images(root: Path, images: str, entries: Sequence[SplitEntry], names: str) -> YoloImages:
    """Find the images: if an entry is a list (`train: train.txt`), those of the entries alone.

    Args:
        root: Folder of the data set.
        images: `data.images`.
        entries: What the names file calls train, val and test.
        names: The names file below the root.

    Raises:
        DataError: If a folder or a list is missing.
    """
    if any(_is_list(entry) for entry in entries):
        return _of_entries(root, images, entries, names)
    if images == IMAGES and not (root / images).exists():
        images = "."  # the layout with train/images beside train/labels
    images = require_folder(root, images, "data.images")
    scan = scan_folder(root, images)
    named = {_below_root(root, entry.text, names): entry for entry in entries}
    splits = {
        path: _split(path, images, named)
        for path in scan.files
        if images != "." or IMAGES in path.split("/")[:-1]
    }
    return YoloImages(images, splits, scan.findings + _without_images(named, splits, names))


def _of_entries(root: Path, images: str, entries: Sequence[SplitEntry], names: str) -> YoloImages:
    members = Members(root)
    findings: list[Finding] = []
    splits: dict[str, SplitName | None] = {}
    first: dict[str, str] = {}
    for entry in entries:
        for found, where in _images_of(root, members, entry, names):
            if isinstance(found, Finding):
                findings.append(found)
            elif isinstance(found, Refusal):
                findings.append(found.finding(where))
            elif found in splits:
                reason = f"{found!r} is listed again; first in {first[found]}"
                findings.append(Finding("duplicate_id", "error", where, reason))
            else:
                splits[found], first[found] = entry.split, where
    return YoloImages(images, splits, findings)


def _images_of(
    root: Path, members: Members, entry: SplitEntry, names: str
) -> Iterator[tuple[str | Refusal | Finding, str]]:
    """Paths that an entry stands for, or why one is not used, each with where it says so."""
    where = f"{names}:{entry.line}"
    if not _is_list(entry):
        folder = require_folder(root, _below_root(root, entry.text, names), where)
        scan = scan_folder(root, folder)
        for path in scan.files:
            yield path, where
        for finding in scan.findings:
            yield finding, finding.where
        return
    file = _below_root(root, entry.text, names)
    located = members.locate(file)
    if isinstance(located, Refusal):
        raise DataError(
            f"the list of images for {entry.split!r} can't be used", where=where, found=located.reason
        )
    try:
        lines = (root / located).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the list of images can't be read", where=located, found=str(error)) from error
    beside = PurePosixPath(located).parent
    for number, line in enumerate(lines, 1):
        if text := line.strip():
            found = members.locate(str(beside / text) if text.startswith("./") else text)
            yield found, f"{located}:{number}"


def _is_list(entry: SplitEntry) -> bool:
    return entry.text.lower().endswith(".txt")


def _below_root(root: Path, text: str, names: str) -> str:
    """Path of a folder or list below the root, as the tools that write `data.yaml` mean it.

    It may be absolute, relative to the root or to the names file; `../train/images` is what some write
    for `train/images`.
    """
    from_names = PurePosixPath(names).parent / text
    inside = [_normal(root, choice) for choice in (text, str(from_names), text.removeprefix("../"))]
    return next((path for path in inside if path and (root / path).exists()), text)


def _normal(root: Path, text: str) -> str | None:
    path = Path(os.path.normpath(root / text))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else None


def _split(path: str, images: str, named: Mapping[str, SplitEntry]) -> SplitName | None:
    for folder, entry in named.items():
        if folder == "." or path.startswith(f"{folder}/"):
            return entry.split
    parts = PurePosixPath(path).parts[:-1]
    return next((split for part in parts if part != images and (split := split_of(part))), None)


def _without_images(
    named: Mapping[str, SplitEntry], paths: Mapping[str, SplitName | None], names: str
) -> list[Finding]:
    return [
        Finding(
            "no_images_there",
            "warning",
            f"{names}:{entry.line}",
            f"{entry.split}: {entry.text!r} holds none of the images",
        )
        for folder, entry in named.items()
        if folder != "." and not any(path.startswith(f"{folder}/") for path in paths)
    ]
