"""`voc`: Pascal VOC, one XML file per image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from transferflow.data.files.boxes import bad_boxes_finding
from transferflow.data.files.paths import Members, Refusal, require_folder, scan_folder
from transferflow.data.formats.xml import Node, XmlError, parse_xml
from transferflow.data.records import SPLITS, Box, Finding, Listing, Record, SplitName
from transferflow.errors import DataError
from transferflow.spec.sections.data import VocData


def list_voc(data: VocData, root: Path) -> Listing:
    """List the XML files; splits come from `ImageSets/Main/{train,val,test}.txt` where they exist.

    Raises:
        DataError: If a folder is missing or holds no XML file.
    """
    folder = require_folder(root, data.annotations, "data.annotations")
    images = require_folder(root, data.images, "data.images")
    files = scan_folder(root, folder, frozenset({".xml"}))
    if not files.files:
        raise DataError(
            "the folder of annotations holds no XML file", where="data.annotations", found=str(root / folder)
        )
    scan = scan_folder(root, images)
    reader = _Reader(data, root, images, scan.files)
    for file in files.files:
        reader.take(file)
    findings = [*files.findings, *scan.findings, *reader.findings, *_unlabelled(scan.files, reader.records)]
    labels = {box.label for record in reader.records for box in record.boxes}
    return Listing(root, data.classes or tuple(sorted(labels)), tuple(reader.records), tuple(findings))


def _unlabelled(files: list[str], records: list[Record]) -> Iterator[Finding]:
    rest = sorted(set(files) - {record.path for record in records})
    if rest:
        reason = f"{len(rest)} images have no annotation that can be used and are left out"
        yield Finding("no_annotation", "warning", rest[0], reason)


class _Reader:
    def __init__(self, data: VocData, root: Path, images: str, files: list[str]) -> None:
        self.records: list[Record] = []
        self.findings: list[Finding] = []
        self._data, self._root, self._images = data, root, images
        self._by_stem = {PurePosixPath(file).stem: file for file in files}
        self._members = Members(root)
        self._splits = _image_sets(root)
        self._seen: dict[str, str] = {}

    def take(self, file: str) -> None:
        """Add the image of one XML file."""
        try:
            tree = parse_xml((self._root / file).read_bytes())
        except XmlError as error:
            reason = f"not usable as XML: {error}"
            self.findings.append(Finding("bad_annotation", "quarantine", f"{file}:{error.line}", reason))
            return
        if tree.tag != "annotation":
            reason = f"not Pascal VOC: <{tree.tag[:60]}> instead of <annotation>"
            self.findings.append(Finding("bad_annotation", "quarantine", f"{file}:{tree.line}", reason))
            return
        record = self._record(file, tree)
        if isinstance(record, Finding):
            self.findings.append(record)
        elif record.id in self._seen:
            reason = f"{record.id!r} is annotated again; first in {self._seen[record.id]}"
            self.findings.append(Finding("duplicate_id", "error", file, reason))
        else:
            self._seen[record.id] = file
            self.records.append(record)

    def _record(self, file: str, tree: Node) -> Record | Finding:
        named = tree.value("filename")
        stem = PurePosixPath(file).stem
        path = self._members.locate(f"{self._images}/{named}") if named else None
        if path is None or (isinstance(path, Refusal) and path.kind in ("missing", "not_a_file")):
            # Many tools write the name without its extension, or under another one.
            found = self._by_stem.get(stem)
            path = found if found else path or Refusal("missing", f"no image is named {stem}")
        if isinstance(path, Refusal):
            return path.finding(file)
        boxes = []
        for node in tree.find_all("object"):
            if self._data.skip_difficult and node.value("difficult") == "1":
                continue
            box = _box(node, self._data.one_based)
            if isinstance(box, str):
                return Finding("bad_box", "quarantine", f"{file}:{node.line}", f"{path}: {box}")
            boxes.append(box)
        bad = bad_boxes_finding(path, file, boxes)
        split = self._splits.get(stem)
        return bad or Record(
            path, path, boxes=tuple(boxes), split=split, source=f"{file}:{tree.line}", frame=_frame(tree)
        )


def _box(node: Node, one_based: bool) -> Box | str:
    corners = node.find("bndbox")
    label = node.value("name")
    if corners is None or not label:
        return "an object needs `name` and `bndbox`"
    try:
        x_min, y_min, x_max, y_max = (float(corners.value(t)) for t in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        return f"the box of {label!r} needs the numbers xmin, ymin, xmax, ymax"
    first = 1.0 if one_based else 0.0
    return Box(x_min - first, y_min - first, x_max, y_max, label, line=corners.line)


def _frame(tree: Node) -> tuple[int, int] | None:
    size = tree.find("size")
    if size is None:
        return None
    try:
        width, height = int(size.value("width")), int(size.value("height"))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _image_sets(root: Path) -> Mapping[str, SplitName]:
    splits: dict[str, SplitName] = {}
    for split in SPLITS:
        file = root / "ImageSets" / "Main" / f"{split}.txt"
        if file.is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            splits |= {line.split()[0]: split for line in lines if line.split()}
    return splits
