"""`yolo`: a text file per image, class names in a YAML or text file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from transferflow.data.boxes import FRACTIONS, bad_boxes_finding
from transferflow.data.formats.folders import split_of
from transferflow.data.formats.yolo_names import load_yolo_names
from transferflow.data.paths import require_file, require_folder, scan_folder
from transferflow.data.records import Box, Finding, Listing, Record, SplitName
from transferflow.errors import DataError
from transferflow.spec.data import YoloData

_IMAGES, _LABELS = "images", "labels"


def list_yolo(data: YoloData, root: Path) -> Listing:
    """List the images of `images/…` or `train/images/…`; an image without a label file has no objects.

    Raises:
        DataError: If the names or the images are missing, or no image has a label file.
    """
    names = load_yolo_names(require_file(root, data.names, "data.names"), data.names)
    images = data.images
    if images == _IMAGES and not (root / images).exists():
        images = "."  # the layout with train/images beside train/labels
    images = require_folder(root, images, "data.images")
    scan = scan_folder(root, images)
    files = [f for f in scan.files if images != "." or _IMAGES in f.split("/")[:-1]]
    if not files:
        raise DataError(
            "no image is found",
            where="data.images",
            found=str(root / images),
            allowed="images/, TRAIN/images/",
        )
    records, findings, without = [], list(scan.findings), []
    for path in files:
        label_file = label_path(path, images)
        boxes = _read_boxes(root, label_file, names.names, path)
        if boxes is None:
            without.append(path)
        if isinstance(boxes, Finding):
            findings.append(boxes)
            continue
        split = _split(path, images, names.splits)
        frame = FRACTIONS if boxes else None
        records.append(
            Record(path, path, boxes=boxes or (), split=split, source=f"{label_file}:1", frame=frame)
        )
    if len(without) == len(files):
        raise DataError(
            "no image has a label file",
            where="data.images",
            found=str(root / files[0]),
            allowed=str(root / label_path(files[0], images)),
        )
    if without:
        reason = f"{len(without)} images have no label file: taken as images without objects"
        findings.append(Finding("no_annotation", "warning", without[0], reason))
    return Listing(root, data.classes or tuple(names.names.values()), tuple(records), tuple(findings))


def label_path(path: str, images: str) -> str:
    """Label file of an image: in `labels` instead of `images`, or beside the folder of the images."""
    parts = PurePosixPath(path).with_suffix(".txt").parts
    if _IMAGES in parts[:-1]:
        last = max(i for i, part in enumerate(parts[:-1]) if part == _IMAGES)
        return "/".join((*parts[:last], _LABELS, *parts[last + 1 :]))
    inside = parts[len(PurePosixPath(images).parts) :]
    return "/".join((*PurePosixPath(images).parts[:-1], _LABELS, *inside))


def _split(path: str, images: str, named: Mapping[str, SplitName]) -> SplitName | None:
    for folder, name in named.items():
        if path.startswith(f"{folder}/"):
            return name
    parts = PurePosixPath(path).parts[:-1]
    return next((split for part in parts if part != images and (split := split_of(part))), None)


def _read_boxes(
    root: Path, file: str, names: Mapping[int, str], path: str
) -> tuple[Box, ...] | Finding | None:
    """Boxes of a label file as fractions; `None` if there is no such file."""
    target = root / file
    try:
        if target.is_symlink() and not target.resolve().is_relative_to(root):
            return Finding("outside_root", "error", file, "a link that leaves the data folder")
        text = target.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
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
