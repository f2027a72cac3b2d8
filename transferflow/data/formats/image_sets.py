"""The lists of a Pascal VOC set: which annotations are in train, val and test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from transferflow.data.files.paths import IMAGE_SUFFIXES
from transferflow.data.formats.folders import split_of
from transferflow.data.formats.pairing import Partners, two_splits_finding
from transferflow.data.records import Finding, SplitName
from transferflow.errors import DataError
from transferflow.limits import MAX_TEXT_BYTES
from transferflow.store import read_bounded
from transferflow.text import counted

FOLDERS = ("ImageSets/Main", "ImageSets")
_TRAINVAL = "trainval"
_FLAGS = ("-1", "0", "1")
"""Whether an image shows a class: stands behind the names in some lists."""


@dataclass(frozen=True)
class ImageSets:
    """What the lists say.

    Attributes:
        folder: Where they stand; `None` if there are none: nothing is said then.
        splits: Split of each annotation file that a list names.
        findings: Names that lead nowhere, or stand in two lists.
    """

    folder: str | None
    splits: Mapping[str, SplitName]
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class _Line:
    where: str
    file: str


def load_image_sets(root: Path, annotations: str, images: str, files: Sequence[str]) -> ImageSets:
    """Read `ImageSets/Main/{train,val,trainval,test}.txt`.

    A name may have folders, an extension, and a flag behind it. What `trainval` names and neither `train` nor
    `val` does goes to the one of both that has no list, or to train.

    Args:
        root: Folder of the data set.
        annotations: Folder of the XML files.
        images: Folder of the images.
        files: The XML files below the root.

    Raises:
        DataError: If a list can't be read.
    """
    folder = next((name for name in FOLDERS if _lists_in(root / name)), None)
    if folder is None:
        return ImageSets(None, {}, list(_unread(root)))
    partners = Partners(files, annotations)
    findings: list[Finding] = []
    named: dict[str, list[_Line]] = {}
    for word, list_file in _lists_in(root / folder).items():
        where = list_file.relative_to(root).as_posix()
        named[word] = list(_resolve(list_file, where, partners, (annotations, images), findings))
    splits = _assign(named, findings)
    return ImageSets(folder, splits, findings)


def _lists_in(folder: Path) -> dict[str, Path]:
    """List files by what they list: train, val, test or trainval."""
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.[tT][xX][tT]")):
        word = split_of(file.stem) or (_TRAINVAL if file.stem.lower() == _TRAINVAL else None)
        if word is not None and file.is_file():
            found.setdefault(word, file)
    return found


def _unread(root: Path) -> Iterator[Finding]:
    lists = sorted(
        path.relative_to(root).as_posix() for path in (root / "ImageSets").glob("*/*.[tT][xX][tT]")
    )
    if lists:
        count = counted(len(lists), "list is", "lists are")
        reason = f"{count} not read: only those of ImageSets/Main say the split, by their names"
        yield Finding("unread_lists", "warning", lists[0], reason)


def _resolve(
    file: Path, where: str, partners: Partners, folders: Sequence[str], findings: list[Finding]
) -> Iterator[_Line]:
    for number, text in _lines(file, where):
        found = next((files for key in _keys(text, folders) if (files := partners.of(key))), [])
        place = f"{where}:{number}"
        if len(found) == 1:
            yield _Line(place, found[0])
        elif found:
            reason = f"{text!r} could be each of {', '.join(found)}: write the folder before the name"
            findings.append(Finding("ambiguous", "error", place, reason))
        else:
            findings.append(Finding("missing", "quarantine", place, f"no annotation is named {text!r}"))


def _lines(file: Path, where: str) -> Iterator[tuple[int, str]]:
    try:
        lines = read_bounded(file, MAX_TEXT_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the list of images can't be read", where=where, found=str(error)) from error
    yield from ((number, text) for number, line in enumerate(lines, 1) if (text := line.strip()))


def _keys(text: str, folders: Sequence[str]) -> Iterator[str]:
    """What a line may mean, the plainest first."""
    name, *flags = text.rsplit(maxsplit=1)
    for choice in (text, name) if flags and flags[0] in _FLAGS else (text,):
        path = PurePosixPath(choice.replace("\\", "/").removeprefix("./"))
        for plain in (path, *(path.relative_to(f) for f in folders if path.is_relative_to(f))):
            yield plain.as_posix()
            if plain.suffix.lower() in IMAGE_SUFFIXES | {".xml"}:
                yield plain.with_suffix("").as_posix()


def _assign(named: Mapping[str, Sequence[_Line]], findings: list[Finding]) -> dict[str, SplitName]:
    splits: dict[str, SplitName] = {}
    first: dict[str, str] = {}
    twice: dict[tuple[str, str], list[_Line]] = {}
    for word in ("train", "val", "test"):
        for line in named.get(word, ()):
            split = split_of(word)
            if split is None or splits.setdefault(line.file, split) == split:
                first.setdefault(line.file, line.where)
            else:
                twice.setdefault((splits[line.file], word), []).append(line)
    rest: SplitName = "val" if "train" in named and "val" not in named else "train"
    for line in named.get(_TRAINVAL, ()):
        if splits.setdefault(line.file, rest) == "test":
            twice.setdefault(("test", _TRAINVAL), []).append(line)
        first.setdefault(line.file, line.where)
    for (one, other), lines in twice.items():
        line = lines[0]
        finding = two_splits_finding(line.where, len(lines), other, one, line.file, first[line.file])
        findings.append(finding)
    return splits
