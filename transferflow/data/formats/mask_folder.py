"""`mask_folder`: a mask image per image, of the same name."""

from __future__ import annotations

from collections.abc import Sequence

from transferflow.data.files.fence import Fence
from transferflow.data.files.members import require_folder
from transferflow.data.files.scan import scan_folder
from transferflow.data.formats.orphans import orphans_finding
from transferflow.data.formats.pairing import Partners, ambiguous_finding, key_of, shared_finding
from transferflow.data.records import Finding, Listing, Record
from transferflow.errors import DataError
from transferflow.spec.sections.data import MaskFolderData

_ENDINGS = ("_mask", "_label", "_gt", "_seg")


def list_mask_folder(data: MaskFolderData, fence: Fence) -> Listing:
    """Pair images and masks by their paths below their folders, without extension (`_mask` may follow).

    Raises:
        DataError: If a folder is missing, nothing matches, or the classes are not named.
    """
    root = fence.root
    images = require_folder(fence, data.images, "data.images")
    masks = require_folder(fence, data.masks, "data.masks")
    classes = data.classes or (tuple(data.colours) if data.colours else None)
    if classes is None:
        raise DataError(
            "index masks need `classes`: the names of the values 0, 1, 2, …", where="data.classes"
        )
    image_scan, mask_scan = scan_folder(fence, images), scan_folder(fence, masks)
    image_files, mask_files = tell_apart(image_scan.files, mask_scan.files, images, masks)
    endings = _ENDINGS if images == masks else ("", *_ENDINGS)
    records, findings = _pair(image_files, mask_files, (images, masks), endings, data.max_bad_fraction)
    findings = [*image_scan.findings, *mask_scan.findings, *findings]
    if images == masks and mask_files:
        reason = f"images and masks stand in one folder: {len(mask_files)} files named so are the masks"
        findings.append(Finding("mixed_folder", "warning", mask_files[0], reason))
    if not records:
        raise DataError(
            "no image has a mask of the same name",
            where="data.masks",
            found=f"{len(image_files)} images in {root / images}, {len(mask_files)} masks in {root / masks}"
            f"{mask_scan.others}",
            hint="name them alike: images/a.jpg and masks/a.png; in one folder a.jpg and a_mask.png",
        )
    return Listing(root, classes, tuple(records), tuple(findings))


def tell_apart(
    image_files: Sequence[str], mask_files: Sequence[str], images: str, masks: str
) -> tuple[list[str], list[str]]:
    """Which files are images and which are masks, where one folder is the other one, or holds it.

    In one folder a mask is what is named like another file with `_mask` or the like behind it.
    """
    if images == masks:
        keys = {key_of(file, images) for file in image_files}
        found = [file for file in mask_files if _without_ending(key_of(file, masks)) in keys]
        return [file for file in image_files if file not in set(found)], found
    inner_masks, inner_images = _is_inside(masks, images), _is_inside(images, masks)
    return (
        [file for file in image_files if not (inner_masks and _is_inside(file, masks))],
        [file for file in mask_files if not (inner_images and _is_inside(file, images))],
    )


def _without_ending(key: str) -> str | None:
    return next((key.removesuffix(ending) for ending in _ENDINGS if key.endswith(ending)), None)


def _is_inside(path: str, folder: str) -> bool:
    return path != folder and (folder == "." or path.startswith(f"{folder}/"))


def _pair(
    images: Sequence[str],
    masks: Sequence[str],
    folders: tuple[str, str],
    endings: Sequence[str],
    allowed: float,
) -> tuple[list[Record], list[Finding]]:
    partners = Partners(masks, folders[1])
    records: list[Record] = []
    findings: list[Finding] = []
    taken: dict[str, str] = {}
    lone = set(masks)
    for path in images:
        key = key_of(path, folders[0])
        found = next((files for ending in endings if (files := partners.of(key + ending))), [])
        lone.difference_update(found)
        if len(found) > 1:
            findings.append(ambiguous_finding(path, found))
        elif not found:
            findings.append(Finding("no_mask", "quarantine", path, "no mask of the same name"))
        elif found[0] in taken:
            findings.append(shared_finding(path, taken[found[0]], found[0]))
        else:
            taken[found[0]] = path
            records.append(Record(path, path, mask=found[0], source=found[0]))
    if lone:
        what = "masks have no image"
        findings.append(orphans_finding("lone_mask", min(lone), len(lone), len(masks), what, allowed))
    return records, findings
