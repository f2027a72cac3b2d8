"""What is wrong with a data set, said before a GPU is touched."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import pyarrow as pa

from transferflow.data.records import SPLITS, Finding, Record, SplitName
from transferflow.spec.task import ClassificationTask, Task


def check_examined(
    task: Task,
    classes: Sequence[str],
    records: Sequence[Record],
    splits: Sequence[SplitName],
    facts: pa.Table,
) -> list[Finding]:
    """Check records whose files decode, with their splits."""
    return [
        *_check_labels(task, classes, records),
        *_check_class_counts(task, classes, records, splits),
        *_check_notes(records, facts),
        *_check_copies(records, facts),
        *check_groups(records, splits),
    ]


def check_share(findings: Sequence[Finding], listed: int, allowed: float) -> list[Finding]:
    """Return an error if the quarantined share of the listed files is above `allowed`."""
    # The listing leaves out what it quarantines itself; such files count as listed all the same.
    bad = {f.where: f for f in findings if f.severity == "quarantine"}
    unlisted = len(bad) if listed == 0 else 0
    total = max(listed, 1) + unlisted
    if len(bad) <= allowed * total:
        return []
    reason = f"{len(bad)} of {total} files can't be used; data.max_bad_fraction allows {allowed:.2%}"
    return [Finding("too_many_bad", "error", "data.max_bad_fraction", reason)]


def _check_labels(task: Task, classes: Sequence[str], records: Sequence[Record]) -> Iterator[Finding]:
    known = set(classes)
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for record in records:
        for label in (*record.labels, *(box.label for box in record.boxes)):
            counts[label] += 1
            first.setdefault(label, record.source)
    for label in sorted(set(counts) - known):
        reason = f"label {label!r} is not in data.classes ({counts[label]} times)"
        yield Finding("unknown_label", "error", first[label], reason)
    lower = defaultdict(list)
    for label in sorted(counts):
        lower[label.casefold()].append(label)
    for same in lower.values():
        if len(same) > 1:
            reason = f"labels that differ in case alone: {', '.join(same)}"
            yield Finding("similar_labels", "warning", first[same[0]], reason)
    if isinstance(task, ClassificationTask) and not task.multilabel and len(known) < 2:
        yield Finding("one_class", "error", "data.classes", f"one class alone: {', '.join(classes)}")


def _check_class_counts(
    task: Task, classes: Sequence[str], records: Sequence[Record], splits: Sequence[SplitName]
) -> Iterator[Finding]:
    for split in SPLITS:
        if split not in splits:
            yield Finding("empty_split", "error", f"data.split.{split}", f"no image is in {split}")
    counts = class_counts(classes, records, splits)
    for label in classes:
        missing = [split for split in SPLITS if split in splits and not counts[split][label]]
        for split in missing:
            fatal = split == "train" and isinstance(task, ClassificationTask)
            reason = f"class {label!r} has no image in {split}"
            yield Finding("class_missing", "error" if fatal else "warning", f"data.split.{split}", reason)


def class_counts(
    classes: Sequence[str], records: Sequence[Record], splits: Sequence[SplitName]
) -> dict[SplitName, dict[str, int]]:
    """Images (with boxes: boxes) of each class per split."""
    counts = {split: dict.fromkeys(classes, 0) for split in SPLITS}
    for record, split in zip(records, splits, strict=True):
        for label in record.labels or tuple(box.label for box in record.boxes):
            if label in counts[split]:
                counts[split][label] += 1
    return counts


def _check_notes(records: Sequence[Record], facts: pa.Table) -> Iterator[Finding]:
    for record, note in zip(records, facts["note"].to_pylist(), strict=True):
        if note is not None:
            yield Finding(
                "wrong_extension", "warning", record.source or record.path, f"{record.path}: {note}"
            )


def _check_copies(records: Sequence[Record], facts: pa.Table) -> Iterator[Finding]:
    first: dict[str, Record] = {}
    copies, example = 0, ""
    for record, sha in zip(records, facts["sha256"].to_pylist(), strict=True):
        other = first.setdefault(sha, record)
        if other is record:
            continue
        copies, example = copies + 1, example or f"{record.path} = {other.path}"
        if other.labels != record.labels:
            reason = (
                f"{record.path} is a copy of {other.path} with another label: "
                f"{'|'.join(record.labels)}, not {'|'.join(other.labels)}"
            )
            yield Finding("conflicting_labels", "warning", record.source, reason)
    if copies:
        reason = f"{copies} images are exact copies of others; copies share a split (first: {example})"
        yield Finding("copies", "warning", example.partition(" = ")[0], reason)


def check_groups(records: Sequence[Record], splits: Sequence[SplitName]) -> Iterator[Finding]:
    """Groups that folders or columns tear apart: each is an error."""
    first: dict[str, tuple[Record, SplitName]] = {}
    told: set[str] = set()
    for record, split in zip(records, splits, strict=True):
        if record.group is None:
            continue
        other, other_split = first.setdefault(record.group, (record, split))
        if split != other_split and record.group not in told:
            told.add(record.group)
            reason = (
                f"group {record.group!r} is in {other_split} ({other.path}) and in {split} ({record.path})"
            )
            yield Finding("group_leak", "error", record.source, reason)
