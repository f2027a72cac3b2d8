"""`image_folder`: a folder per class, or train/val/test folders of class folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from transferflow.data.files.fence import Fence
from transferflow.data.files.paths import IMAGE_SUFFIXES
from transferflow.data.files.scan import Scan, scan_folder
from transferflow.data.formats.folders import (
    decide_split_folders,
    declare_below_classes,
    lone_split_finding,
    unread_folders,
)
from transferflow.data.formats.spellings import Spellings
from transferflow.data.records import Finding, Listing, Record, SplitName
from transferflow.errors import DataError
from transferflow.spec.class_names import plain_name
from transferflow.spec.sections.data import ImageFolderData
from transferflow.text import counted

_DERIVED = ("_mask", "_label", "_gt", "_seg", "_thumb", "_thumbnail")


def list_image_folder(data: ImageFolderData, fence: Fence) -> Listing:
    """List the images below `root`; the top folder is the class, whatever the depth below it.

    Raises:
        DataError: If there is no image in any class folder.
    """
    root = fence.root
    scan = scan_folder(fence, suffixes=IMAGE_SUFFIXES)
    records, findings = records_of_folders(scan, data.classes or ())
    if not records:
        raise _no_class_folder(root, scan)
    classes = data.classes or tuple(sorted({label for record in records for label in record.labels}))
    return Listing(root, classes, tuple(records), tuple(findings))


def _no_class_folder(root: Path, scan: Scan) -> DataError:
    folders = ", ".join(scan.folders[:10]) or "none"
    if scan.files and not scan.folders:
        # Either the labels are elsewhere, or this is one of the class folders.
        hint = (
            "a folder per class says the labels; if this is one of the class folders, set data.root to the "
            f"folder above, {root.parent}; a table of images and labels is `format: csv`"
        )
    else:
        hint = f"check data.root; images are known by {' '.join(sorted(IMAGE_SUFFIXES))}"
    return DataError(
        "no image stands in a class folder",
        where="data.root",
        found=f"{root}: {counted(len(scan.files), 'image')} in no folder; folders: {folders}{scan.others}",
        allowed="root/CLASS/image.jpg, or root/train/CLASS/image.jpg with val and test beside train",
        hint=hint,
    )


def records_of_folders(scan: Scan, classes: Collection[str]) -> tuple[list[Record], list[Finding]]:
    """Records of scanned files by the names of their top folders, and what is odd about the rest.

    Args:
        scan: The files.
        classes: Class names that the spec says: such folders are no splits, whatever they are called.
    """
    splits = {} if set(scan.folders) <= set(classes) else decide_split_folders(scan.folders)
    depth = 2 if splits else 1
    is_lone = len(set(splits.values())) == 1
    records, loose, beside = [], [], []
    labels: dict[str, tuple[str, ...]] = {}
    spellings = Spellings()
    for path in scan.files:
        parts = path.split("/")
        split: SplitName | None = splits.get(parts[0])
        if splits and split is None:
            beside.append(path)
        elif len(parts) <= depth:
            loose.append(path)
        else:
            label = labels.setdefault(name := spellings.read(parts[depth - 1], path), (name,))
            records.append(
                Record(id=path, path=path, labels=label, split=None if is_lone else split, source=path)
            )
    findings = [*scan.findings, *_layout_findings(scan, loose, beside), *_one_folder(records, depth)]
    findings += [*spellings.findings(), *_derived_files(records)]
    if not splits or is_lone:
        records, below = declare_below_classes(records, depth)
        findings += below
    if is_lone and records and not any(record.split for record in records):
        findings.append(lone_split_finding(next(iter(splits.values())), records))
    if not splits:
        named = Counter(record.labels[0] for record in records if record.labels[0] not in classes)
        findings += unread_folders(named)
        findings += [
            Finding("empty_class", "warning", name, "the class folder holds no image")
            for name in scan.folders
            if plain_name(name) not in labels
        ]
    return records, findings


def _derived_files(records: Sequence[Record]) -> Iterator[Finding]:
    """Masks and thumbnails beside the images that they are made from: they would be images of the class."""
    paths = [(record.path, record.path.rpartition(".")[0]) for record in records]
    stems = {stem for _, stem in paths}
    for ending in _DERIVED:
        found = [path for path, stem in paths if stem.endswith(ending) and stem.removesuffix(ending) in stems]
        if found:
            reason = (
                f"{len(found)} of {len(records)} images are named like another one, with `{ending}` behind: "
                "masks and thumbnails are no images of a class; move them out of the folder"
            )
            yield Finding("derived_files", "error", found[0], reason)


def _one_folder(records: Sequence[Record], depth: int) -> list[Finding]:
    """Where all images stand in one class folder that has folders of its own, the root is one too high."""
    if len({record.labels for record in records}) != 1:
        return []
    below = dict.fromkeys(parts[depth] for r in records if len(parts := r.path.split("/")) > depth + 1)
    if len(below) < 2:
        return []
    top = records[0].path.split("/")[depth - 1]
    names = ", ".join(list(below)[:8])
    reason = f"all images stand in this folder, and there in {names}: is data.root one folder too high?"
    return [Finding("one_class_folder", "error", top, reason)]


def _layout_findings(scan: Scan, loose: Sequence[str], beside: Sequence[str]) -> list[Finding]:
    found = []
    if loose:
        reason = (
            f"{counted(len(loose), 'image in no class folder is', 'images in no class folder are')} left out"
        )
        found.append(Finding("no_class_folder", "warning", loose[0], reason))
    if beside:
        where = "beside the train/val/test folders"
        stand = f"image stands {where} and is", f"images stand {where} and are"
        reason = f"{counted(len(beside), *stand)} left out"
        found.append(Finding("no_split_folder", "warning", beside[0], reason))
    if scan.ignored:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in sorted(scan.ignored.items()))
        found.append(Finding("ignored_files", "warning", ".", f"files that are no images: {counts}"))
    return found
