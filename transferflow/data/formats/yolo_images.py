"""Which images a YOLO data set has: those of a folder, or those that lists name; and their splits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from transferflow.data.files.fence import Fence
from transferflow.data.files.members import Members, Refusal, require_folder
from transferflow.data.files.scan import scan_folder
from transferflow.data.formats.folders import split_of
from transferflow.data.formats.pairing import two_splits_finding
from transferflow.data.formats.yolo_labels import IMAGES
from transferflow.data.formats.yolo_names import SplitEntry
from transferflow.data.records import Finding, SplitName
from transferflow.errors import DataError
from transferflow.limits import MAX_TEXT_BYTES
from transferflow.store import read_bounded


@dataclass(frozen=True)
class YoloImages:
    """The images and what was found on the way.

    Attributes:
        folder: Folder below the root that the labels' folder stands beside.
        splits: Split of each image that the names file says, by POSIX path below the root.
        findings: Paths that are refused, listed twice, or lead to no image.
    """

    folder: str
    splits: Mapping[str, SplitName | None]
    findings: list[Finding] = field(default_factory=list)


def find_yolo_images(fence: Fence, images: str, entries: Sequence[SplitEntry], names: str) -> YoloImages:
    """Find the images: if an entry is a list (`train: train.txt`), those of the entries alone.

    Args:
        fence: What the data set is read from.
        images: `data.images`.
        entries: What the names file calls train, val and test.
        names: The names file below the root.

    Raises:
        DataError: If a folder or a list is missing.
    """
    root = fence.root
    placed = {entry: _below_root(root, entry, names) for entry in entries}
    _require_different(root, placed, names)
    if any(_is_list(entry) for entry in entries):
        return _of_entries(fence, images, placed, names)
    if images == IMAGES and not (root / images).exists():
        images = "."  # the layout with train/images beside train/labels
    images = require_folder(fence, images, "data.images")
    scan = scan_folder(fence, images)
    paths = [path for path in scan.files if images != "." or IMAGES in path.split("/")[:-1]]
    nothing = _without_images(placed, paths, names)
    found = [*scan.findings, *nothing]
    if len(nothing) == len(entries):
        return YoloImages(images, dict.fromkeys(paths), found)
    declared = {path: split for path in paths if (split := _split(path, images, placed)) is not None}
    found += _left_out([path for path in paths if path not in declared], len(paths), names)
    return YoloImages(images, dict(declared), found)


def _require_different(root: Path, placed: Mapping[SplitEntry, str], names: str) -> None:
    """Refuse two splits that are one folder or list.

    Raises:
        DataError: If there are such.
    """
    first: dict[Path, SplitEntry] = {}
    for entry, path in placed.items():
        other = first.setdefault((root / path).resolve(), entry)
        if other.split != entry.split:
            raise DataError(
                f"{other.split} and {entry.split} are the same {'list' if _is_list(entry) else 'folder'}",
                where=f"{names}:{entry.line}",
                found=f"{other.split}: {other.text}, {entry.split}: {entry.text}",
                hint="give each its own images, or take train, val and test out of the file: the stable hash "
                "splits them then",
            )


def _left_out(rest: Sequence[str], total: int, names: str) -> Iterator[Finding]:
    if rest:
        reason = f"{len(rest)} of {total} images are in no folder of {names} and are left out"
        yield Finding("unlisted", "warning", rest[0], reason)


def _of_entries(fence: Fence, images: str, placed: Mapping[SplitEntry, str], names: str) -> YoloImages:
    members = Members(fence)
    findings: list[Finding] = []
    splits: dict[str, SplitName | None] = {}
    first: dict[str, tuple[SplitEntry, str]] = {}
    twice: dict[tuple[SplitName, SplitName], list[tuple[str, str]]] = {}
    for entry, path in placed.items():
        for found, where in _images_of(fence, members, entry, path, names):
            if isinstance(found, Finding):
                findings.append(found)
            elif isinstance(found, Refusal):
                findings.append(found.finding(where))
            elif found not in splits:
                splits[found], first[found] = entry.split, (entry, where)
            elif first[found][0].split == entry.split:
                reason = f"{found!r} is listed again; first in {first[found][1]}"
                findings.append(Finding("duplicate_id", "error", where, reason))
            else:
                twice.setdefault((first[found][0].split, entry.split), []).append((found, where))
    for (one, other), names_twice in twice.items():
        image, where = names_twice[0]
        findings.append(two_splits_finding(where, len(names_twice), other, one, image, first[image][1]))
    return YoloImages(images, splits, findings)


def _images_of(
    fence: Fence, members: Members, entry: SplitEntry, path: str, names: str
) -> Iterator[tuple[str | Refusal | Finding, str]]:
    """Paths that an entry stands for, or why one is not used, each with where it says so."""
    where = f"{names}:{entry.line}"
    if not _is_list(entry):
        scan = scan_folder(fence, require_folder(fence, path, where))
        for image in scan.files:
            yield image, where
        for finding in scan.findings:
            yield finding, finding.where
        return
    located = members.locate(path)
    if isinstance(located, Refusal):
        raise DataError(
            f"the list of images for {entry.split!r} can't be used", where=where, found=located.reason
        )
    try:
        lines = read_bounded(fence.root / located, MAX_TEXT_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the list of images can't be read", where=located, found=str(error)) from error
    beside = PurePosixPath(located).parent
    for number, line in enumerate(lines, 1):
        if text := line.strip():
            found = members.locate(str(beside / text) if text.startswith("./") else text)
            yield found, f"{located}:{number}"


def _is_list(entry: SplitEntry) -> bool:
    return entry.text.lower().endswith(".txt")


def _below_root(root: Path, entry: SplitEntry, names: str) -> str:
    """Path of a folder or list below the root, as the tools that write `data.yaml` mean it.

    It may be absolute, relative to the root, to the names file or to the file's `path`; `../train/images` is
    what some write for `train/images`.
    """
    text, beside = entry.text, PurePosixPath(names).parent
    choices = (
        text,
        str(beside / text),
        str(PurePosixPath(entry.folder) / text),
        str(beside / entry.folder / text),
        text.removeprefix("../"),
    )
    inside = (_normal(root, choice) for choice in choices)
    return next((path for path in inside if path and (root / path).exists()), text)


def _normal(root: Path, text: str) -> str | None:
    path = Path(os.path.normpath(root / text))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else None


def _split(path: str, images: str, placed: Mapping[SplitEntry, str]) -> SplitName | None:
    """Split of the innermost folder that the names file names, else of a folder's own name."""
    for entry, folder in sorted(placed.items(), key=lambda item: -len(item[1])):
        if folder == "." or path.startswith(f"{folder}/"):
            return entry.split
    parts = PurePosixPath(path).parts[:-1]
    return next((split for part in parts if part != images and (split := split_of(part))), None)


def _without_images(placed: Mapping[SplitEntry, str], paths: Sequence[str], names: str) -> list[Finding]:
    return [
        Finding(
            "no_images_there",
            "warning",
            f"{names}:{entry.line}",
            f"{entry.split}: {entry.text!r} holds none of the images",
        )
        for entry, folder in placed.items()
        if folder != "." and not any(path.startswith(f"{folder}/") for path in paths)
    ]
