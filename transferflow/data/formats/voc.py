"""`voc`: Pascal VOC, one XML file per image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath

from transferflow.data.files.boxes import bad_boxes_finding
from transferflow.data.files.fence import Fence
from transferflow.data.files.members import Members, Refusal, require_folder
from transferflow.data.files.scan import scan_folder
from transferflow.data.formats.image_sets import ImageSets, load_image_sets
from transferflow.data.formats.pairing import Partners, ambiguous_finding, key_of, shared_finding
from transferflow.data.formats.spellings import Spellings
from transferflow.data.formats.voc_corners import FarCorners
from transferflow.data.formats.voc_file import VocError, read_boxes, read_size
from transferflow.data.formats.xml import Node, XmlError, parse_xml
from transferflow.data.records import SPLITS, Finding, Listing, Record, SplitName
from transferflow.errors import DataError
from transferflow.limits import MAX_LABEL_FILE_BYTES
from transferflow.spec.sections.data import VocData
from transferflow.store import read_bounded
from transferflow.text import counted


def list_voc(data: VocData, fence: Fence) -> Listing:
    """List the XML files; where `ImageSets` has lists, those that they name, with their splits.

    Raises:
        DataError: If a folder is missing or holds no XML file, or a list can't be read.
    """
    root = fence.root
    folder = require_folder(fence, data.annotations, "data.annotations")
    images = require_folder(fence, data.images, "data.images")
    files = scan_folder(fence, folder, frozenset({".xml"}))
    if not files.files:
        raise DataError(
            "the folder of annotations holds no XML file",
            where="data.annotations",
            found=f"{root / folder}{files.others}",
        )
    scan = scan_folder(fence, images)
    sets = load_image_sets(root, folder, images, files.files)
    reader = _Reader(data, fence, folder, images, scan.files)
    unlisted = [file for file in files.files if sets.folder is not None and file not in sets.splits]
    for file in files.files:
        if sets.folder is None or file in sets.splits:
            reader.take(file, sets.splits.get(file))
    findings = [*files.findings, *scan.findings, *sets.findings, *reader.findings, *reader.stale_names()]
    findings += _unlisted(unlisted, len(files.files), sets)
    findings += [*reader.unlabelled(unlisted), *reader.spellings.findings()]
    findings += reader.corners.findings(data.max_bad_fraction)
    labels = {box.label for record in reader.records for box in record.boxes}
    return Listing(root, data.classes or tuple(sorted(labels)), tuple(reader.records), tuple(findings))


def _unlisted(rest: Sequence[str], total: int, sets: ImageSets) -> Iterator[Finding]:
    if rest:
        counts = Counter(sets.splits.values())
        named = ", ".join(f"{split} {counts[split]}" for split in SPLITS)
        reason = f"{len(rest)} of {total} annotations are in no list and are left out, such as {rest[0]}"
        yield Finding("unlisted", "warning", str(sets.folder), f"{reason}; the lists name {named}")


class _Reader:
    def __init__(
        self, data: VocData, fence: Fence, annotations: str, images: str, files: Sequence[str]
    ) -> None:
        self.records: list[Record] = []
        self.findings: list[Finding] = []
        self._data, self._root, self._annotations, self._images = data, fence.root, annotations, images
        self._files = files
        self._partners = Partners(files, images)
        self._members = Members(fence)
        self._seen: dict[str, str] = {}
        self._stale: list[str] = []
        self.spellings = Spellings()
        self.corners = FarCorners()

    def take(self, file: str, split: SplitName | None) -> None:
        """Add the image of one XML file."""
        try:
            tree = parse_xml(read_bounded(self._root / file, MAX_LABEL_FILE_BYTES))
        except OSError as error:
            reason = f"can't be read: {error.strerror or error}"
            self.findings.append(Finding("bad_annotation", "quarantine", file, reason))
            return
        except XmlError as error:
            reason = f"not usable as XML: {error}"
            self.findings.append(Finding("bad_annotation", "quarantine", f"{file}:{error.line}", reason))
            return
        if tree.tag != "annotation":
            reason = f"not Pascal VOC: <{tree.tag[:60]}> instead of <annotation>"
            if tree.tag == "annotations":
                reason += "; CVAT's own XML is another format: export as Pascal VOC"
            self.findings.append(Finding("bad_annotation", "quarantine", f"{file}:{tree.line}", reason))
            return
        record = self._record(file, tree, split)
        if isinstance(record, Finding):
            self.findings.append(record)
        elif record.id in self._seen:
            self.findings.append(shared_finding(file, self._seen[record.id], record.id))
        else:
            self._seen[record.id] = file
            self.records.append(record)

    def _record(self, file: str, tree: Node, split: SplitName | None) -> Record | Finding:
        path = self._image_of(file, tree.value("filename"))
        if isinstance(path, Finding):
            return path
        try:
            boxes = tuple(
                read_boxes(
                    tree,
                    partial(self._read_name, file),
                    skip_difficult=self._data.skip_difficult,
                    one_based=self._data.one_based,
                )
            )
            frame = read_size(tree)
        except VocError as error:
            return Finding(error.kind, "quarantine", f"{file}:{error.line}", f"{path}: {error}")
        self.corners.count(boxes, frame, file, 1.0 if self._data.one_based else 0.0)
        bad = bad_boxes_finding(path, file, boxes)
        return bad or Record(path, path, boxes=boxes, split=split, source=f"{file}:{tree.line}", frame=frame)

    def _image_of(self, file: str, named: str) -> str | Finding:
        """The image of the file's own name; where there is none, the one that its `filename` names.

        Tools copy and rename annotations and leave `filename` as it was.
        """
        key, name = key_of(file, self._annotations), PurePosixPath(named.replace("\\", "/"))
        own = self._partners.of(key)
        if len(own) > 1:  # the same name with two extensions, of which `filename` may tell one
            own = [image for image in own if PurePosixPath(image).name == name.name] or own
        if len(own) > 1:
            return ambiguous_finding(file, own)
        found = self._named_image(key, name) if named else None
        if own:
            if isinstance(found, str) and found != own[0]:
                self._stale.append(file)
            return own[0]
        if isinstance(found, str):
            return found
        if found is None or found.kind in ("missing", "not_a_file"):
            found = Refusal("missing", f"no image is named {key}" + (f" or {named}" if named else ""))
        return found.finding(file)

    def _named_image(self, key: str, name: PurePosixPath) -> str | Refusal:
        """The image that `filename` names, in the folder of the annotation or the uppermost one."""
        images, parent = PurePosixPath(self._images), PurePosixPath(key).parent
        found = [self._members.locate(str(folder / name)) for folder in (images / parent, images)]
        image = next((choice for choice in found if not isinstance(choice, Refusal)), None)
        alike = self._partners.of((parent / name.with_suffix("")).as_posix()) if name.name else []
        return image or (alike[0] if len(alike) == 1 else found[-1])

    def _read_name(self, file: str, text: str, line: int) -> str:
        return self.spellings.read(text, f"{file}:{line}")

    def stale_names(self) -> Iterator[Finding]:
        """Files whose `filename` names another image than their own."""
        if self._stale:
            count = counted(len(self._stale), "file")
            reason = f"`filename` of {count} names another image: that of their own name is taken"
            yield Finding("stale_filename", "warning", self._stale[0], reason)

    def unlabelled(self, unlisted: Sequence[str]) -> Iterator[Finding]:
        """Images that no annotation is of."""
        taken = {record.path for record in self.records}
        for file in unlisted:
            taken.update(self._partners.of(key_of(file, self._annotations)))
        rest = sorted(set(self._files) - taken)
        if rest:
            what = "no annotation that can be used and"
            reason = f"{counted(len(rest), f'image has {what} is', f'images have {what} are')} left out"
            yield Finding("no_annotation", "warning", rest[0], reason)
