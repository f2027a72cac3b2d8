"""`yolo`: a text file per image, class names in a YAML or text file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from transferflow.data.files.boxes import FRACTIONS, bad_boxes_finding
from transferflow.data.files.fence import Fence
from transferflow.data.files.members import Members, Refusal, require_file
from transferflow.data.formats.pairing import shared_finding
from transferflow.data.formats.yolo_classes import other_names
from transferflow.data.formats.yolo_images import YoloImages, find_yolo_images
from transferflow.data.formats.yolo_labels import find_label_file, label_paths, orphan_labels
from transferflow.data.formats.yolo_lines import LabelLine, Shape, decide_shape, parse_line, read_box
from transferflow.data.formats.yolo_names import YoloNames, load_yolo_names
from transferflow.data.records import Box, Finding, Listing, Record
from transferflow.errors import DataError
from transferflow.limits import MAX_LABEL_FILE_BYTES
from transferflow.spec.sections.data import YoloData
from transferflow.store import read_bounded
from transferflow.text import counted


def list_yolo(data: YoloData, fence: Fence) -> Listing:
    """List the images of `images/…` or `train/images/…`, or of the lists that `data.yaml` names.

    An image without a label file has no objects.

    Raises:
        DataError: If the names, a list or the images are missing, no image has a label file, or the lines can
            be read in two ways.
    """
    root = fence.root
    names = load_yolo_names(require_file(fence, data.names, "data.names"), data.names)
    images = find_yolo_images(fence, data.images, names.entries, data.names)
    if not images.splits and not images.findings:
        raise DataError(
            "no image is found",
            where="data.images",
            found=str(root / images.folder),
            allowed="images/, TRAIN/images/, or lists of images in data.yaml",
        )
    labels = _Labels(fence, images, names)
    if labels.without and len(labels.without) == len(images.splits):
        first = labels.without[0]
        raise DataError(
            "no image has a label file",
            where="data.images",
            found=str(root / first),
            allowed=" or ".join(str(root / file) for file in label_paths(first, images.folder)),
        )
    shape = data.shapes or labels.shape()
    records = list(labels.records(shape))
    findings = [*images.findings, *labels.findings, *labels.say(shape)]
    findings += other_names(fence, data.names, names.names, labels.files.values())
    findings += orphan_labels(fence, list(labels.files.values()), images.folder, data)
    return Listing(root, data.classes or tuple(names.names.values()), tuple(records), tuple(findings))


class _Labels:
    """The label files of all images, parsed."""

    def __init__(self, fence: Fence, images: YoloImages, names: YoloNames) -> None:
        self.findings: list[Finding] = []
        self.without: list[str] = []
        self.files: dict[str, str] = {}
        """Label file of each image that can be used."""
        self._images, self._names = images, names
        self._lines: dict[str, list[LabelLine]] = {}
        root, members = fence.root, Members(fence)
        owners: dict[str, str] = {}
        for path in images.splits:
            file = find_label_file(root, path, images.folder)
            lines = _read_lines(root, members, file, names.names, path)
            if isinstance(lines, Finding):
                self.findings.append(lines)
            elif lines is not None and file in owners:
                self.findings.append(shared_finding(path, owners[file], file))
            else:
                if lines is None:
                    self.without.append(path)
                else:
                    owners[file] = path
                self.files[path], self._lines[path] = file, lines or []

    def shape(self) -> Shape:
        """What follows the class in the lines.

        Raises:
            DataError: If they can be read in two ways.
        """
        keypoints = self._names.keypoints
        shape = decide_shape((line for lines in self._lines.values() for line in lines), keypoints)
        if not isinstance(shape, LabelLine):
            return shape
        path = next(path for path, lines in self._lines.items() if shape in lines)
        raise DataError(
            f"the labels hold {len(shape.values)} numbers each, which are an outline as well as a box with "
            "keypoints in it",
            where=f"{self.files[path]}:{shape.number}",
            hint="set data.shapes to polygons or to keypoints",
        )

    def records(self, shape: Shape) -> Iterator[Record]:
        """Records of the images whose lines are right; adds findings for the others."""
        for path, file in self.files.items():
            boxes: list[Box] = []
            bad: Finding | None = None
            for line in self._lines[path]:
                box = read_box(line, shape, self._names.keypoints)
                if isinstance(box, str):
                    where = f"{file}:{line.number}"
                    bad = Finding("bad_annotation", "quarantine", where, f"{path}: {box}")
                    break
                boxes.append(box)
            bad = bad or bad_boxes_finding(path, file, boxes)
            if bad is not None:
                self.findings.append(bad)
                continue
            split = self._images.splits[path]
            frame = FRACTIONS if boxes else None
            yield Record(path, path, boxes=tuple(boxes), split=split, source=f"{file}:1", frame=frame)

    def say(self, shape: Shape) -> Iterator[Finding]:
        """Images without labels, and lines that hold more than a box."""
        if self.without:
            count = counted(len(self.without), "image has", "images have")
            reason = f"{count} no label file: taken as images without objects"
            yield Finding("no_annotation", "warning", self.without[0], reason)
        long = [self.files[p] for p, lines in self._lines.items() for line in lines if len(line.values) > 5]
        if long:
            what = {
                "polygons": "are outlines, of which the box around is taken",
                "keypoints": "have keypoints, which are left aside",
                "boxes": "hold more than a box, and are left out",
            }
            yield Finding(shape, "warning", long[0], f"{len(long)} labels {what[shape]}")


def _read_lines(
    root: Path, members: Members, file: str, names: Mapping[int, str], path: str
) -> list[LabelLine] | Finding | None:
    """Lines of a label file; `None` if there is no such file."""
    located = members.locate(file)
    if isinstance(located, Refusal):
        return None if located.kind == "missing" else located.finding(file)
    try:
        text = read_bounded(root / located, MAX_LABEL_FILE_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        return Finding("bad_annotation", "quarantine", file, f"{path}: can't be read: {error}")
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            parsed = parse_line(line, number, names)
            if isinstance(parsed, str):
                return Finding("bad_annotation", "quarantine", f"{file}:{number}", f"{path}: {parsed}")
            lines.append(parsed)
    return lines
