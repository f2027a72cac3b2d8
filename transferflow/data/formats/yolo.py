"""`yolo`: a text file per image, class names in a YAML or text file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from transferflow.data.files.boxes import FRACTIONS, bad_boxes_finding
from transferflow.data.files.paths import Members, Refusal, require_file
from transferflow.data.formats.yolo_images import IMAGES, find_yolo_images
from transferflow.data.formats.yolo_names import load_yolo_names
from transferflow.data.records import Box, Finding, Listing, Record
from transferflow.errors import DataError
from transferflow.spec.sections.data import YoloData

_LABELS = "labels"


def list_yolo(data: YoloData, root: Path) -> Listing:
    """List the images of `images/…` or `train/images/…`, or of the lists that `data.yaml` names.

    An image without a label file has no objects.

    Raises:
        DataError: If the names, a list or the images are missing, or no image has a label file.
    """
    names = load_yolo_names(require_file(root, data.names, "data.names"), data.names)
    images = find_yolo_images(root, data.images, names.entries, data.names)
    if not images.splits and not images.findings:
        raise DataError(
            "no image is found",
            where="data.images",
            found=str(root / images.folder),
            allowed="images/, TRAIN/images/, or lists of images in data.yaml",
        )
    members = Members(root)
    records, findings, without = [], list(images.findings), []
    for path, split in images.splits.items():
        label_file = _label_file(root, path, images.folder)
        boxes = _read_boxes(root, members, label_file, names.names, path)
        if boxes is None:
            without.append(path)
        if isinstance(boxes, Finding):
            findings.append(boxes)
            continue
        frame = FRACTIONS if boxes else None
        records.append(
            Record(path, path, boxes=boxes or (), split=split, source=f"{label_file}:1", frame=frame)
        )
    if without and len(without) == len(images.splits):
        raise DataError(
            "no image has a label file",
            where="data.images",
            found=str(root / without[0]),
            allowed=" or ".join(str(root / file) for file in label_paths(without[0], images.folder)),
        )
    if without:
        reason = f"{len(without)} images have no label file: taken as images without objects"
        findings.append(Finding("no_annotation", "warning", without[0], reason))
    return Listing(root, data.classes or tuple(names.names.values()), tuple(records), tuple(findings))


def label_paths(path: str, images: str) -> tuple[str, ...]:
    """Where an image's label file may stand: `labels` instead of `images`; beside that folder; beside it."""
    own = PurePosixPath(path).with_suffix(".txt")
    parts = own.parts
    if IMAGES in parts[:-1]:
        last = max(i for i, part in enumerate(parts[:-1]) if part == IMAGES)
        return ("/".join((*parts[:last], _LABELS, *parts[last + 1 :])),)
    folder = PurePosixPath(images)
    if own.is_relative_to(folder):
        return str(folder.parent / _LABELS / own.relative_to(folder)), str(own)
    return (str(own),)


def _label_file(root: Path, path: str, images: str) -> str:
    choices = label_paths(path, images)
    return next((file for file in choices[1:] if (root / file).exists()), choices[0])


def _read_boxes(
    root: Path, members: Members, file: str, names: Mapping[int, str], path: str
) -> tuple[Box, ...] | Finding | None:
    """Boxes of a label file as fractions; `None` if there is no such file."""
    located = members.locate(file)
    if isinstance(located, Refusal):
        return None if located.kind == "missing" else located.finding(file)
    try:
        text = (root / located).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        return Finding("bad_annotation", "quarantine", file, f"{path}: can't be read: {error}")
    boxes = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        box = parse_line(line, number, names)
        if isinstance(box, str):
            return Finding("bad_annotation", "quarantine", f"{file}:{number}", f"{path}: {box}")
        boxes.append(box)
    return bad_boxes_finding(path, file, boxes) or tuple(boxes)


def parse_line(line: str, number: int, names: Mapping[int, str]) -> Box | str:
    """Box of `class x_centre y_centre width height` or of `class x1 y1 x2 y2 x3 y3 …`, or what is wrong."""
    cells = line.split()
    try:
        index = int(cells[0])
        values = [float(cell) for cell in cells[1:]]
    except ValueError:
        return f"{line.strip()[:60]!r} is not a class number and coordinates"
    if index not in names:
        return f"class {index} has no name; there are {_span(list(names))}"
    if len(values) == 4:
        x, y, width, height = values
        return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2, names[index], line=number)
    if len(values) >= 6 and len(values) % 2 == 0:
        xs, ys = values[::2], values[1::2]
        return Box(min(xs), min(ys), max(xs), max(ys), names[index], line=number)
    return f"{len(values)} coordinates; allowed: 4 of a box, or 6 and more of a polygon"


def _span(indices: Sequence[int]) -> str:
    return f"{min(indices)} to {max(indices)}"
