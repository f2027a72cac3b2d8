"""`coco`: boxes, polygons and RLE masks in one JSON file, or one per split."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import assert_never

from transferflow.data.files.boxes import bad_boxes_finding
from transferflow.data.files.fence import Fence
from transferflow.data.files.members import Members, Refusal, require_file, require_folder
from transferflow.data.formats.coco_file import (
    CocoAnnotation,
    CocoFile,
    CocoImage,
    ImageId,
    load_coco_file,
)
from transferflow.data.formats.exact import InexactError, exact_text
from transferflow.data.formats.folders import is_split_name, split_of
from transferflow.data.formats.groups import decide_group_name, group_finding
from transferflow.data.formats.orphans import orphans_finding
from transferflow.data.formats.pairing import two_splits_finding
from transferflow.data.formats.rle import segmentation_problem
from transferflow.data.records import SPLITS, Box, Finding, Listing, Record, SplitName
from transferflow.errors import DataError
from transferflow.spec.class_names import plain_name
from transferflow.spec.sections.data import CocoData, SplitFiles
from transferflow.spec.sections.truth import MaskTruth, Truth

BACKGROUND = "background"


def list_coco(data: CocoData, truth: Truth, fence: Fence) -> Listing:
    """List the images of the annotation files, with boxes, or with a mask to be drawn.

    Raises:
        DataError: If a file is missing, is not COCO, or two files have different categories.
    """
    folder = require_folder(fence, data.images, "data.images")
    files = annotation_files(data, fence.root)
    reader = _Reader(fence, folder, isinstance(truth, MaskTruth), data.split.group_by)
    names: tuple[str, ...] | None = None
    for split, name in files:
        coco = load_coco_file(require_file(fence, name, "data.annotations"), name)
        if names is not None and set(names) != set(coco.categories):
            raise DataError(
                "the annotation files have different categories",
                where=name,
                found=", ".join(coco.categories),
                allowed=", ".join(names),
            )
        names = coco.categories
        reader.take(coco, name, split)
        if reader.masks and data.classes:
            reader.findings += _left_out(coco, name, data.classes)
        reader.findings += _orphans(coco, name, data.max_bad_fraction)
        if not reader.masks:
            reader.findings += _areas(coco, name)
    reader.findings += reader.in_two_splits()
    if not reader.records and not reader.findings:
        raise DataError("the annotations list no image", where=files[0][1])
    classes = data.classes or coco_classes(names or (), isinstance(truth, MaskTruth))
    return Listing(fence.root, classes, tuple(reader.records), tuple(reader.findings))


def annotation_files(data: CocoData, root: Path) -> list[tuple[SplitName | None, str]]:
    """Annotation files, each with its split.

    Raises:
        DataError: If one is no JSON by its name, or stands for two splits.
    """
    files: list[tuple[SplitName | None, str]]
    match data.annotations:
        case str(name):
            files = [(None, name)]
        case SplitFiles() as named:
            files = [(split, getattr(named, split)) for split in SPLITS]
        case _:
            assert_never(data.annotations)
    first: dict[Path, SplitName | None] = {}
    for split, name in files:
        if not name.lower().endswith(".json"):
            raise DataError("a COCO file is named *.json", where="data.annotations", found=name)
        other = first.setdefault((root / name).resolve(), split)
        if other != split:
            raise DataError(
                f"{other} and {split} are the same file",
                where=f"data.annotations.{split}",
                found=name,
                hint="give each its own annotations; one file for all is `annotations: FILE`, and the stable "
                "hash splits its images",
            )
    return files


def locate_image(members: Members, folder: str, name: str, image: CocoImage) -> str | Refusal:
    """Path below the root of an image of the annotation file `name`, or why it is refused."""
    beside = PurePosixPath(name).parent / image.file_name  # as Roboflow writes it
    return members.locate(f"{folder}/{image.file_name}", str(beside))


def coco_classes(categories: Sequence[str], masks: bool) -> tuple[str, ...]:
    """Class names of the categories; with masks, pixels without an object are `background`."""
    if masks and BACKGROUND not in categories:
        return (BACKGROUND, *categories)
    return tuple(categories)


def _left_out(coco: CocoFile, name: str, classes: Sequence[str]) -> list[Finding]:
    """Say which objects are not drawn because the spec's classes leave them out."""
    become = f"become {BACKGROUND}" if BACKGROUND in classes else "do not count"
    why = f"{become}: data.classes leaves it out"
    labels = Counter(note.label for notes in coco.annotations.values() for note in notes)
    return [
        Finding("label_left_out", "warning", name, f"{count} objects of {label!r} {why}")
        for label, count in labels.items()
        if label not in classes
    ]


def _orphans(coco: CocoFile, name: str, allowed: float) -> Iterator[Finding]:
    if coco.orphans:
        index, image = coco.orphans[0]
        where = f"{name}:annotations[{index}]"
        what = f"annotations belong to images that are not listed (the first: image_id {image!r})"
        yield orphans_finding("unknown_image", where, len(coco.orphans), coco.total, what, allowed)


def _areas(coco: CocoFile, name: str) -> Iterator[Finding]:
    notes = (note for of_image in coco.annotations.values() for note in of_image)
    bad = [note.index for note in notes if note.area is not None and math.isnan(note.area)]
    if bad:
        count = f"{len(bad)} of {coco.total} annotations have an `area` that is no number above 0"
        where = f"{name}:annotations[{min(bad)}]"
        yield Finding("bad_area", "warning", where, f"{count}: their boxes say how large they are")


def _said_splits(coco: CocoFile) -> dict[ImageId, SplitName]:
    """Splits that an entry of the images says, where it says one of every image that has it."""
    for key in dict.fromkeys(key for image in coco.images.values() for key in image.extra):
        if not is_split_name(key):
            continue
        words = {i: str(image.extra[key]) for i, image in coco.images.items() if key in image.extra}
        splits = {i: split for i, word in words.items() if (split := split_of(word)) is not None}
        if len(splits) == len(words) and len(set(splits.values())) > 1:
            return splits
    return {}


class _Reader:
    def __init__(self, fence: Fence, folder: str, masks: bool, group_by: str | None) -> None:
        self.records: list[Record] = []
        self.findings: list[Finding] = []
        self._members = Members(fence)
        self.masks = masks
        self._folder, self._group_by = folder, group_by
        self._seen: dict[str, Record] = {}
        self._twice: defaultdict[tuple[SplitName | None, SplitName | None], list[Record]] = defaultdict(list)

    def take(self, coco: CocoFile, name: str, split: SplitName | None) -> None:
        """Add the images of one annotation file."""
        self.findings += coco.findings
        said = _said_splits(coco) if split is None else {}
        entries = (entry for image in coco.images.values() for entry in image.extra)
        group_name = self._group_by or decide_group_name(entries)
        if group_name is not None and self._group_by is None:
            self.findings.append(group_finding(group_name, name))
        for image in coco.images.values():
            source = f"{name}:images[{image.index}]"
            declared = split or said.get(image.id)
            record = self._record(image, coco.annotations[image.id], name, declared, group_name)
            if isinstance(record, Finding):
                self.findings.append(record)
            elif record.id not in self._seen:
                self._seen[record.id] = record
                self.records.append(record)
            elif (other := self._seen[record.id]).split == record.split:
                reason = f"{record.id!r} is listed again; first in {other.source}"
                self.findings.append(Finding("duplicate_id", "error", source, reason))
            else:
                self._twice[other.split, record.split].append(record)

    def in_two_splits(self) -> Iterator[Finding]:
        """Images that two annotation files list."""
        for (one, other), records in self._twice.items():
            first = self._seen[records[0].id]
            yield two_splits_finding(
                records[0].source, len(records), str(other), str(one), first.id, first.source
            )

    def _record(
        self,
        image: CocoImage,
        annotations: Sequence[CocoAnnotation],
        name: str,
        split: SplitName | None,
        group_name: str | None,
    ) -> Record | Finding:
        source = f"{name}:images[{image.index}]"
        path = locate_image(self._members, self._folder, name, image)
        if isinstance(path, Refusal):
            return path.finding(source)
        problem = _problem(image, annotations, name, path)
        if problem is not None:
            return problem
        try:
            group = plain_name(exact_text(image.extra.get(group_name))) if group_name is not None else ""
        except InexactError as error:
            return Finding("no_group", "error", source, f"`{group_name}` {error}")
        if not group and self._group_by is not None:
            return Finding("no_group", "error", source, f"the image has no entry {self._group_by!r}")
        return self._labelled(
            image,
            annotations,
            name,
            Record(path, path, group=group or None, split=split, source=source, frame=image.size),
        )

    def _labelled(
        self, image: CocoImage, annotations: Sequence[CocoAnnotation], name: str, record: Record
    ) -> Record | Finding:
        path = record.path
        if self.masks:
            bad = _mask_finding(image, annotations, name, path)
            return bad or replace(record, mask=f"{name}#{image.id}")
        boxes = _boxes(annotations)
        if isinstance(boxes, int):
            where = f"{name}:annotations[{boxes}]"
            return Finding("bad_box", "quarantine", where, f"{path}: `bbox` is not four numbers")
        bad = bad_boxes_finding(path, name, boxes, indexed=True)
        return bad or replace(record, boxes=boxes)


def _problem(image: CocoImage, annotations: Sequence[CocoAnnotation], name: str, path: str) -> Finding | None:
    """What is wrong with the entries themselves."""
    if image.problem:
        return Finding("bad_image", "quarantine", f"{name}:images[{image.index}]", f"{path}: {image.problem}")
    for note in annotations:
        if note.problem:
            where = f"{name}:annotations[{note.index}]"
            return Finding("bad_annotation", "quarantine", where, f"{path}: {note.problem}")
    return None


def _boxes(annotations: Sequence[CocoAnnotation]) -> tuple[Box, ...] | int:
    """Boxes, or the index of the first annotation that has none."""
    boxes = []
    for note in annotations:
        if note.bbox is None:
            return note.index
        x, y, width, height = note.bbox
        area = None if note.area is None or math.isnan(note.area) else note.area
        boxes.append(Box(x, y, x + width, y + height, note.label, note.crowd, note.index, area))
    return tuple(boxes)


def _mask_finding(
    image: CocoImage, annotations: Sequence[CocoAnnotation], name: str, path: str
) -> Finding | None:
    if image.size is None:
        where = f"{name}:images[{image.index}]"
        return Finding("bad_image", "quarantine", where, f"{path}: masks need `width` and `height`")
    for note in annotations:
        problem = segmentation_problem(note.segmentation, image.size)
        if problem:
            where = f"{name}:annotations[{note.index}]"
            return Finding("bad_mask", "quarantine", where, f"{path}: {problem}")
    return None
