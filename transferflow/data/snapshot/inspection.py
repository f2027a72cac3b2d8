"""From a listing to what its files hold: every file opened once, the bad ones left out, the rest split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, assert_never

import pyarrow as pa

from transferflow.data.checks.boxes import check_boxes, drop_equal_boxes
from transferflow.data.checks.contrast import check_contrast
from transferflow.data.checks.findings import group_findings
from transferflow.data.checks.inspected import Inspected, seen_of
from transferflow.data.checks.labels import check_labels, check_share, class_counts
from transferflow.data.checks.leaks import check_leaks
from transferflow.data.checks.mask_coding import check_coding, mask_values
from transferflow.data.checks.masks import check_masks
from transferflow.data.files.boxes import fit_boxes
from transferflow.data.formats.json_lines import with_lines
from transferflow.data.formats.mask_coding import build_coding, decide_coding
from transferflow.data.formats.masks import MaskFiles
from transferflow.data.records import SPLITS, DatasetSnapshot, Finding, Listing, Record, SplitName, about
from transferflow.data.remote.copies import same_source
from transferflow.data.snapshot.former_splits import load_former_splits
from transferflow.data.snapshot.manifest import IMAGE_FIELDS, MASK_FIELDS, read_table
from transferflow.data.snapshot.shards import FACTS_VERSION, ImageReader, Inspect, collect_facts, inspect_here
from transferflow.data.split import assign_splits
from transferflow.spec.sections.data import (
    CocoData,
    Data,
    DicomData,
    ImageFolderData,
    MaskFolderData,
    TableData,
    VocData,
    YoloData,
)
from transferflow.spec.sections.truth import MaskTruth, Truth

OnFile = Callable[[int, int], None]
"""Called after each file with the number of files done and the number of all."""


@dataclass(frozen=True)
class CheckedListing:
    """What is in a data set and what is wrong with it.

    Attributes:
        images: Images that can be used, per split.
        class_counts: Images (with boxes: boxes that are no crowd) of each class, per split.
        findings: What is odd or wrong, errors first; the data set can be used if none is an error.
    """

    images: Mapping[SplitName, int]
    class_counts: Mapping[SplitName, Mapping[str, int]]
    findings: Sequence[Finding]


def check_listing(
    data: Data,
    truth: Truth,
    listing: Listing,
    *,
    previous: DatasetSnapshot | None = None,
    workers: int = 1,
    progress: OnFile | None = None,
) -> CheckedListing:
    """Open every file and check everything; nothing is written.

    Args:
        data: The spec's `data` section.
        truth: What is learned from it: labels, boxes or masks.
        listing: What the format lists.
        previous: A former snapshot, whose files are not read again if they have not changed.
        workers: Threads that read and decode.
        progress: Called with the number of files done and the number of all.
    """
    found = inspect_listing(
        data, truth, listing, previous=previous, inspect=inspect_here(workers), progress=progress
    )
    counts = Counter(found.splits)
    return CheckedListing(
        {split: counts[split] for split in SPLITS},
        class_counts(truth, listing.classes, found),
        [finding for group in group_findings(found.findings) for finding in group.findings],
    )


def inspect_listing(
    data: Data,
    truth: Truth,
    listing: Listing,
    *,
    previous: DatasetSnapshot | None = None,
    inspect: Inspect | None = None,
    progress: OnFile | None = None,
) -> Inspected:
    """Open every file once, leave out the bad ones, split the rest, and check the whole.

    Args:
        data: The spec's `data` section.
        truth: What is learned from it: labels, boxes or masks.
        listing: What the format lists.
        previous: A former snapshot: its images keep their splits, and files of the same path, size and
            time are not read again.
        inspect: Runs the shards; left out: one after the other in this process.
        progress: Called with the number of files done and the number of all.
    """
    inspect = inspect or inspect_here(1)
    found = _read_images(data, listing, previous, inspect, progress)
    outside = boxes_outside(data)
    if outside is not None:
        odd = check_boxes(found.records, seen_of(found.facts), data.max_bad_fraction)
        found = _fit_all(replace(found, findings=[*found.findings, *odd]), outside)
        records, equal = drop_equal_boxes(found.records)
        found = replace(found, records=records, findings=[*found.findings, *equal])
    if isinstance(truth, MaskTruth):
        found = _read_masks(data, truth, listing, found, previous, inspect)
    content = dict(zip((record.id for record in found.records), found.hashes, strict=True))
    former = None
    if previous is not None:
        former = load_former_splits(previous, data.split, found.records, content)
    assigned = assign_splits(found.records, data.split, content=content, former=former)
    found = replace(found, splits=[assigned[record.id] for record in found.records])
    findings = [*found.findings, *check_labels(data, truth, listing.classes, found)]
    findings += check_contrast(found, data.intensity, data.max_bad_fraction)
    findings += check_leaks(found, data.near_duplicates)
    findings = check_share(findings, listing, data.max_bad_fraction) + findings
    return replace(found, findings=with_lines(findings, listing.root))


def _read_images(
    data: Data,
    listing: Listing,
    previous: DatasetSnapshot | None,
    inspect: Inspect,
    progress: OnFile | None,
) -> Inspected:
    records = sorted(listing.records, key=lambda record: record.id)
    reader = build_reader(data, listing.root)
    before = None
    if previous is not None and same_source(previous.root, reader.root) and previous.view == reader.view:
        before = read_table(previous, ["path", *(field.name for field in IMAGE_FIELDS)])

    def report(done: int) -> None:
        if progress:
            progress(done, len(records))

    facts = collect_facts(reader, [record.path for record in records], before, inspect, report)
    found = _drop_bad(Inspected(records, facts, findings=list(listing.findings)))
    return _take_groups(found, data.split.group_by) if reader.group_tag else found


def _take_groups(found: Inspected, required: str | None) -> Inspected:
    """Groups that the files themselves name."""
    groups = found.facts["header_group"].to_pylist()
    records = [replace(r, group=r.group or group) for r, group in zip(found.records, groups, strict=True)]
    missing = [record for record in records if record.group is None]
    findings = [
        Finding("no_group", "error", record.path, f"its header has no {required!r}")
        for record in missing
        if required is not None
    ]
    return replace(found, records=records, findings=found.findings + findings)


def build_reader(data: Data, root: Path) -> ImageReader:
    """How the images of a data set are looked at; DICOM files are grouped by patient."""
    tag = None
    if isinstance(data, DicomData):
        # In a table `group_by` names a column.
        tag = data.split.group_by if data.split.group_by and data.file is None else "PatientID"
    return ImageReader(root, data.channels, data.intensity, tag)


def _drop_bad(found: Inspected) -> Inspected:
    """Quarantine the files with a problem."""
    problems = found.facts["problem"].to_pylist()
    kinds = found.facts["problem_kind"].to_pylist()
    findings = list(found.findings)
    for record, kind, problem in zip(found.records, kinds, problems, strict=True):
        if problem is not None:
            findings.append(about(record, kind, "quarantine", problem))
    facts = found.facts.drop_columns(["problem", "problem_kind"])
    return _keep(replace(found, facts=facts, findings=findings), [problem is None for problem in problems])


def _keep(found: Inspected, wanted: Sequence[bool]) -> Inspected:
    if all(wanted):
        return found
    records = [record for record, keep in zip(found.records, wanted, strict=True) if keep]
    return replace(found, records=records, facts=found.facts.filter(pa.array(wanted, pa.bool_())))


def boxes_outside(data: Data) -> Literal["clip", "reject"] | None:
    """What happens to a box that leaves its image; `None` for a format that has no boxes."""
    match data:
        case CocoData() | VocData() | YoloData():
            return data.boxes_outside
        case ImageFolderData() | TableData() | MaskFolderData() | DicomData():
            return None
        case _:
            assert_never(data)


def _fit_all(found: Inspected, outside: Literal["clip", "reject"]) -> Inspected:
    """Lay all boxes onto their images."""
    fitted: list[Record] = []
    findings, wanted = list(found.findings), []
    for record, seen in zip(found.records, seen_of(found.facts), strict=True):
        laid, odd = fit_boxes(record, seen, outside)
        findings += odd
        wanted.append(laid is not None)
        fitted.append(laid or record)
    return _keep(replace(found, records=fitted, findings=findings), wanted)


def _read_masks(
    data: Data,
    truth: MaskTruth,
    listing: Listing,
    found: Inspected,
    previous: DatasetSnapshot | None,
    inspect: Inspect,
) -> Inspected:
    reader = MaskFiles(listing.root, listing.classes, build_coding(data, truth, listing.classes))
    before = None
    if previous is not None and _reads_alike(reader, previous):
        before = read_table(previous, ["mask", *(field.name for field in MASK_FIELDS)])
    names = [record.mask or "" for record in found.records]
    masks = collect_facts(reader, names, before, inspect, lambda _: None)
    for name in found.facts.column_names:
        masks = masks.append_column(name, found.facts[name])
    found = _drop_bad(replace(found, facts=masks))
    coding = decide_coding(reader.coding, truth, listing.classes, mask_values(found.facts))
    findings = check_coding(coding, reader.coding, data, truth, found.facts)
    reader = replace(reader, coding=coding)
    wanted, classes, bad = check_masks(reader, found.records, seen_of(found.facts), found.facts)
    found = _keep(replace(found, findings=found.findings + findings + bad), wanted)
    return replace(found, mask_classes=classes, coding=coding)


def _reads_alike(reader: MaskFiles, previous: DatasetSnapshot) -> bool:
    """Whether former facts about masks still hold: COCO masks are drawn with classes and ignored value."""
    coding = previous.coding
    return (
        coding is not None
        and same_source(previous.root, reader.root)
        and previous.classes == reader.classes
        and (coding.colours, coding.ignored) == (reader.coding.colours, reader.coding.ignored)
        and previous.view.get("facts") == FACTS_VERSION
    )
