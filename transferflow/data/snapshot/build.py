"""A data set at one moment: built from a listing, kept in a folder, loaded again."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from transferflow.data.checks.findings import refuse_errors, write_findings
from transferflow.data.checks.inspected import Inspected
from transferflow.data.checks.labels import class_counts
from transferflow.data.formats.mask_coding import load_coding, store_coding
from transferflow.data.records import SPLITS, Box, DatasetSnapshot, Listing, Record, SplitName
from transferflow.data.snapshot.inspection import OnFile, build_reader, inspect_listing
from transferflow.data.snapshot.manifest import MANIFEST, build_table, write_table
from transferflow.data.snapshot.shards import Inspect, inspect_here
from transferflow.errors import DataError
from transferflow.spec.sections.data import Data
from transferflow.spec.sections.truth import Truth
from transferflow.store import digest, write_atomic

SNAPSHOT = "snapshot.json"


def build_snapshot(
    data: Data,
    truth: Truth,
    listing: Listing,
    folder: Path,
    *,
    previous: DatasetSnapshot | None = None,
    workers: int = 1,
    progress: OnFile | None = None,
    inspect: Inspect | None = None,
) -> DatasetSnapshot:
    """Open every listed file once and write the snapshot into `folder`.

    Args:
        data: The spec's `data` section.
        truth: What is learned from it: labels, boxes or masks.
        listing: What the format lists.
        folder: Where `manifest.parquet`, `quarantine.csv`, `findings.json` and `snapshot.json` go.
        previous: A former snapshot: its images keep their splits, and unchanged files are not read again.
        workers: Threads that read and decode.
        progress: Called with the number of files done and the number of all.
        inspect: Runs the shards elsewhere, on other machines for instance; replaces `workers`.

    Raises:
        DataError: If a finding is an error, or more files are bad than `data.max_bad_fraction` allows.
    """
    inspect = inspect or inspect_here(workers)
    inspected = inspect_listing(data, truth, listing, previous=previous, inspect=inspect, progress=progress)
    folder.mkdir(parents=True, exist_ok=True)
    write_findings(inspected.findings, folder)
    refuse_errors(inspected.findings)
    write_table(build_table(inspected.records, inspected.splits, inspected.facts), folder)
    snapshot = _describe(data, truth, listing, inspected, folder)
    fields = asdict(snapshot) | {
        "root": str(snapshot.root),
        "split": data.split.model_dump(mode="json"),
        "coding": store_coding(snapshot.coding),
        "links": [str(folder) for folder in snapshot.links],
    }
    del fields["path"]
    write_atomic(folder / SNAPSHOT, json.dumps(fields, indent=1, ensure_ascii=False))
    return snapshot


def _describe(
    data: Data, truth: Truth, listing: Listing, inspected: Inspected, folder: Path
) -> DatasetSnapshot:
    counts = Counter(inspected.splits)
    by_split: dict[SplitName, list[Record]] = {split: [] for split in SPLITS}
    for record, split in zip(inspected.records, inspected.splits, strict=True):
        by_split[split].append(record)
    return DatasetSnapshot(
        path=folder,
        root=listing.root,
        fingerprint=fingerprint(inspected, listing.classes),
        classes=listing.classes,
        channels=data.channels,
        counts={split: counts[split] for split in SPLITS},
        class_counts=class_counts(truth, listing.classes, inspected),
        quarantined=sum(finding.severity == "quarantine" for finding in inspected.findings),
        ids={split: digest([record.id for record in images]) for split, images in by_split.items()},
        groups={split: digest([record.group for record in images]) for split, images in by_split.items()},
        view=build_reader(data, listing.root).view,
        coding=inspected.coding,
        links=listing.links,
    )


def fingerprint(inspected: Inspected, classes: Sequence[str]) -> str:
    """sha256 (hex) over contents, labels, what mask values mean, and splits.

    Names, folders, times and order do not count.
    """
    lines = []
    masks: list[str | None] = [None] * len(inspected.records)
    if inspected.mask_classes:
        masks = inspected.facts["mask_sha256"].to_pylist()
    for record, split, sha, mask in zip(
        inspected.records, inspected.splits, inspected.hashes, masks, strict=True
    ):
        boxes = sorted(_box_values(box) for box in record.boxes)
        line = json.dumps([sha, split, sorted(record.labels), boxes, mask])
        lines.append(hashlib.sha256(line.encode()).digest())
    meaning: list[object] = list(classes)
    if inspected.coding is not None:
        meaning.append(store_coding(inspected.coding))
    total = hashlib.sha256(json.dumps(meaning).encode())
    for line_digest in sorted(lines):
        total.update(line_digest)
    return total.hexdigest()


def _box_values(box: Box) -> tuple[str | float | bool, ...]:
    values = (box.label, box.x_min, box.y_min, box.x_max, box.y_max, box.crowd)
    return values if box.area is None else (*values, box.area)


def load_snapshot(folder: Path) -> DatasetSnapshot:
    """Load a snapshot that was built before.

    Raises:
        DataError: If a file is missing or damaged.
    """
    try:
        fields = json.loads((folder / SNAPSHOT).read_text(encoding="utf-8"))
        if not (folder / MANIFEST).is_file():
            raise FileNotFoundError(MANIFEST)
        return DatasetSnapshot(
            path=folder,
            root=Path(fields["root"]),
            fingerprint=str(fields["fingerprint"]),
            classes=tuple(fields["classes"]),
            channels=int(fields["channels"]),
            counts={split: int(fields["counts"][split]) for split in SPLITS},
            class_counts={split: dict(fields["class_counts"][split]) for split in SPLITS},
            quarantined=int(fields["quarantined"]),
            ids={split: str(fields["ids"][split]) for split in SPLITS},
            groups={split: str(fields["groups"][split]) for split in SPLITS},
            view=dict(fields["view"]),
            coding=load_coding(fields["coding"]),
            links=tuple(Path(folder) for folder in fields.get("links", ())),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            "the snapshot is missing or damaged",
            where=str(folder),
            found=str(error),
            hint="run its spec again: it is made anew",
        ) from error
