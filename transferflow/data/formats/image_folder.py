"""`image_folder`: a folder per class, or train/val/test folders of class folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transferflow.data.files.paths import IMAGE_SUFFIXES, Scan, scan_folder
from transferflow.data.formats.folders import decide_split_folders
from transferflow.data.records import Finding, Listing, Record, SplitName
from transferflow.errors import DataError
from transferflow.spec.sections.data import ImageFolderData


def list_image_folder(data: ImageFolderData, root: Path) -> Listing:
    """List the images below `root`; the top folder is the class, whatever the depth below it.

    Raises:
        DataError: If there is no image in any class folder.
    """
    scan = scan_folder(root, suffixes=IMAGE_SUFFIXES)
    records, findings = records_of_folders(scan)
    if not records:
        raise DataError(
            "no image stands in a class folder",
            where="data.root",
            found=f"{root}: {len(scan.files)} images and the folders {scan.folders[:10]}",
            allowed="root/CLASS/image.jpg, or root/train/CLASS/image.jpg with val and test beside train",
            hint="check data.root; images are known by " + " ".join(sorted(IMAGE_SUFFIXES)),
        )
    classes = data.classes or tuple(sorted({label for record in records for label in record.labels}))
    return Listing(root, classes, tuple(records), tuple(findings))


def records_of_folders(scan: Scan) -> tuple[list[Record], list[Finding]]:
    """Records of scanned files by the names of their top folders, and what is odd about the rest."""
    splits = decide_split_folders(scan.folders)
    depth = 2 if splits else 1
    records, loose, beside = [], [], []
    labels: dict[str, tuple[str, ...]] = {}
    for path in scan.files:
        parts = path.split("/")
        split: SplitName | None = splits.get(parts[0])
        if splits and split is None:
            beside.append(path)
        elif len(parts) <= depth:
            loose.append(path)
        else:
            label = labels.setdefault(parts[depth - 1], (parts[depth - 1],))
            records.append(Record(id=path, path=path, labels=label, split=split, source=path))
    findings = [*scan.findings, *_layout_findings(scan, loose, beside)]
    if not splits:
        findings += [
            Finding("empty_class", "warning", name, "the class folder holds no image")
            for name in scan.folders
            if name not in labels
        ]
    return records, findings


def _layout_findings(scan: Scan, loose: Sequence[str], beside: Sequence[str]) -> list[Finding]:
    found = []
    if loose:
        reason = f"{len(loose)} images stand in no class folder and are left out"
        found.append(Finding("no_class_folder", "warning", loose[0], reason))
    if beside:
        reason = f"{len(beside)} images stand beside the train/val/test folders and are left out"
        found.append(Finding("no_split_folder", "warning", beside[0], reason))
    if scan.ignored:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in sorted(scan.ignored.items()))
        found.append(Finding("ignored_files", "warning", ".", f"files that are no images: {counts}"))
    return found
