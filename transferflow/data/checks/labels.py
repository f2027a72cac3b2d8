"""Checks of classes and split sizes: that every class is where it has to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from transferflow.data.checks.inspected import Inspected
from transferflow.data.checks.mask_coding import values_note
from transferflow.data.checks.names import SUGGESTED, check_groups, check_names, short
from transferflow.data.checks.split_sizes import check_shares
from transferflow.data.records import SPLITS, Finding, Listing, Severity, SplitName, about
from transferflow.data.split import cut_splits
from transferflow.spec.sections.data import Data, MaskFolderData
from transferflow.spec.sections.truth import BoxTruth, LabelTruth, MaskTruth, NumberTruth, Truth
from transferflow.spec.wording import did_you_mean

_FEW = 5
_NO_IMAGES = Finding("no_images", "error", "data.root", "no image can be used")
_NOTHING: Mapping[SplitName, str] = {
    "train": "there is nothing to learn",
    "val": "no epoch can be told to be the best",
    "test": "the model can't be measured",
}


def check_labels(data: Data, truth: Truth, classes: Sequence[str], found: Inspected) -> list[Finding]:
    """Check that labels are known, and that every class is in every split."""
    if not found.records:
        return [_NO_IMAGES]
    counts = class_counts(truth, classes, found)
    labelled = [(r.source or r.path, found.labels_of(row)) for row, r in enumerate(found.records)]
    needed = needed_classes(data, counts)
    note = values_note(found.coding, found.facts) if isinstance(data, MaskFolderData) else ""
    return [
        *check_names(truth, classes, labelled),
        *_check_cut(found),
        *_check_undeclared(found),
        *(
            finding
            for split in SPLITS
            if split in found.splits
            for finding in _check_split(truth, split, counts[split], needed, note)
        ),
        *check_shares(found, data.split),
        *_check_notes(found),
    ]


def needed_classes(data: Data, counts: Mapping[SplitName, Mapping[str, int]]) -> frozenset[str]:
    """Classes that have to be in train: those that the spec names, and those that any split shows.

    The category list of a COCO or YOLO file often names more than the set has.
    """
    named = data.classes or ()
    if isinstance(data, MaskFolderData) and data.colours:
        named = (*named, *data.colours)
    return frozenset(named) | {name for shown in counts.values() for name, count in shown.items() if count}


def check_share(findings: Sequence[Finding], listing: Listing, allowed: float) -> list[Finding]:
    """Return an error if the quarantined share of the listed files is above `allowed`."""
    bad = sum(finding.severity == "quarantine" for finding in findings)
    total = len(listing.records) + sum(finding.severity == "quarantine" for finding in listing.findings)
    if bad <= allowed * total:
        return []
    reason = f"{bad} of {total} images can't be used ({bad / total:.1%}); allowed are {allowed:.1%}"
    return [Finding("too_many_bad", "error", "data.max_bad_fraction", reason)]


def class_counts(truth: Truth, classes: Sequence[str], found: Inspected) -> dict[SplitName, dict[str, int]]:
    """Images (with boxes: boxes that are no crowd) of each class per split; every image has a number."""
    counts = {split: dict.fromkeys(classes, 0) for split in SPLITS}
    for row, split in enumerate(found.splits):
        boxes = found.records[row].boxes
        labels: Sequence[str] = found.labels_of(row)
        if boxes:
            labels = [box.label for box in boxes if not box.crowd]
        elif truth.is_number:
            labels = classes
        for label in labels:
            if label in counts[split]:
                counts[split][label] += 1
    return counts


def check_listed(data: Data, truth: Truth, listing: Listing) -> list[Finding]:
    """Check what a listing says, before any file is opened: that enough of it is left, and its labels."""
    if not listing.records:
        return [_NO_IMAGES]
    return [
        *check_share(listing.findings, listing, data.max_bad_fraction),
        *_check_listed_names(truth, listing),
    ]


def _check_listed_names(truth: Truth, listing: Listing) -> list[Finding]:
    """Check the labels that a listing has; those of masks are not known yet."""
    labelled = [(r.source or r.path, r.labels or tuple(b.label for b in r.boxes)) for r in listing.records]
    findings = list(check_names(truth, listing.classes, labelled))
    findings += check_groups((record.source or record.path, record.group) for record in listing.records)
    if not isinstance(truth, LabelTruth):
        return findings
    used = {label for _, labels in labelled for label in labels}
    others = sorted(used - set(listing.classes))
    for name in listing.classes:
        if name not in used:
            near = did_you_mean(name, others) if len(findings) < SUGGESTED else ""
            reason = f"no image has the label {name!r}" + (f": {near}" if near else "")
            findings.append(Finding("class_missing", "error", "data.classes", reason))
    return findings


def _check_cut(found: Inspected) -> Iterator[Finding]:
    for name, source in cut_splits(record.split for record in found.records).items():
        reason = f"no folder, list or column says {name}: it is cut from {source} by the stable hash"
        yield Finding("split_cut", "warning", f"data.split.{name}", reason)


def _check_undeclared(found: Inspected) -> Iterator[Finding]:
    """Images whose split nothing says, beside others."""
    rest = [row for row, record in enumerate(found.records) if record.split is None]
    if 0 < len(rest) < len(found.records):
        counts = Counter(found.splits[row] for row in rest)
        shares = ", ".join(f"{counts[name]} in {name}" for name in SPLITS)
        reason = (
            f"nothing says the split of {len(rest)} of {len(found.records)} images, though it is said of the "
            f"others: the stable hash puts {shares}"
        )
        where = found.records[rest[0]].source or found.records[rest[0]].path
        yield Finding("undeclared_split", "warning", where, reason)


def _check_split(
    truth: Truth, split: SplitName, counts: Mapping[str, int], needed: Collection[str], note: str
) -> Iterator[Finding]:
    where = f"data.split.{split}"
    if not any(counts.values()):
        severity: Severity = "warning" if split == "test" else "error"
        reason = f"{_no_label(truth, split)}: {_NOTHING[split]}; check the annotations and data.classes"
        yield Finding("no_labels", severity, where, reason)
        return
    one, many = _counted(truth)
    few = [f"{label!r} ({n})" for label, n in counts.items() if 0 < n < _FEW]
    if few:
        reason = f"fewer than {_FEW} {many} in {split}: {short(few)}; figures of such a class say little"
        yield Finding("class_small", "warning", where, reason)
    for label in (label for label, count in counts.items() if not count):
        severity = "error" if split == "train" and label in needed else "warning"
        reason = f"class {label!r} has no {one} in {split}{note if severity == 'error' else ''}"
        yield Finding("class_missing", severity, where, reason)


def _counted(truth: Truth) -> tuple[str, str]:
    """What is counted of a class: one, and several."""
    match truth:
        case LabelTruth():
            return "image", "images"
        case BoxTruth():
            return "box", "boxes"
        case MaskTruth():
            return "mask", "masks"
        case NumberTruth():
            return "image", "images"


def _no_label(truth: Truth, split: SplitName) -> str:
    match truth:
        case LabelTruth():
            return f"no image in {split} has a label"
        case BoxTruth():
            return f"no image in {split} has a box of a class (crowd regions do not count)"
        case MaskTruth():
            return f"no mask in {split} has a pixel of a class"
        case NumberTruth():
            return f"no image in {split} has a number"


def _check_notes(found: Inspected) -> Iterator[Finding]:
    for record, note in zip(found.records, found.facts["note"].to_pylist(), strict=True):
        if note is not None:
            yield about(record, "wrong_extension", "warning", note)
