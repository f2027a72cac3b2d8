"""`mask_folder`: a mask image per image, of the same name."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath

from transferflow.data.files.paths import require_folder, scan_folder
from transferflow.data.formats.folders import split_of
from transferflow.data.records import Finding, Listing, Record
from transferflow.errors import DataError
from transferflow.spec.sections.data import MaskFolderData

_ENDINGS = ("", "_mask", "_label", "_gt", "_seg")


def list_mask_folder(data: MaskFolderData, root: Path) -> Listing:
    """Pair images and masks by their paths below their folders, without extension (`_mask` may follow).

    Raises:
        DataError: If a folder is missing, nothing matches, or the classes are not named.
    """
    images = require_folder(root, data.images, "data.images")
    masks = require_folder(root, data.masks, "data.masks")
    classes = data.classes or (tuple(data.colours) if data.colours else None)
    if classes is None:
        raise DataError(
            "index masks need `classes`: the names of the values 0, 1, 2, …", where="data.classes"
        )
    image_scan, mask_scan = scan_folder(root, images), scan_folder(root, masks)
    # One of the folders may hold the other one.
    image_files = [f for f in image_scan.files if f not in set(mask_scan.files) or images != "."]
    by_stem = defaultdict(list)
    for file in mask_scan.files:
        by_stem[_stem(file, masks)].append(file)
    records, findings = [], [*image_scan.findings, *mask_scan.findings]
    used: set[str] = set()
    taken: dict[str, str] = {}
    for path in image_files:
        stem = _stem(path, images)
        found = next((by_stem[stem + end] for end in _ENDINGS if stem + end in by_stem), [])
        if len(found) != 1 or stem in taken:
            findings.append(_pairing_finding(path, found, taken.get(stem)))
            continue
        taken[stem] = path
        used.add(found[0])
        split = split_of(stem.split("/")[0]) if "/" in stem else None
        records.append(Record(path, path, mask=found[0], split=split, source=found[0]))
    lone = sorted(set(mask_scan.files) - used - {f for fs in by_stem.values() if len(fs) > 1 for f in fs})
    if lone:
        findings.append(Finding("lone_mask", "warning", lone[0], f"{len(lone)} masks have no image"))
    if not records:
        raise DataError(
            "no image has a mask of the same name",
            where="data.masks",
            found=f"{len(image_files)} images in {root / images}, "
            f"{len(mask_scan.files)} masks in {root / masks}",
            hint="name them alike: images/a.jpg and masks/a.png",
        )
    return Listing(root, classes, tuple(records), tuple(findings))


def _pairing_finding(path: str, masks: list[str], twin: str | None) -> Finding:
    if twin is not None:
        return Finding("duplicate_id", "error", path, f"{twin} has the same name and would share its mask")
    if masks:
        return Finding("ambiguous_mask", "error", path, f"several masks: {', '.join(masks)}")
    return Finding("no_mask", "quarantine", path, "no mask of the same name")


def _stem(file: str, folder: str) -> str:
    inside = file if folder == "." else file[len(folder) + 1 :]
    return PurePosixPath(inside).with_suffix("").as_posix()
