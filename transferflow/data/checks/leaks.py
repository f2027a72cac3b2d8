"""Leaks: the same thing in two splits, as a group, as a copy, or as an image that looks alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa

from transferflow.data.checks.duplicates import find_near_duplicates
from transferflow.data.checks.inspected import Inspected
from transferflow.data.records import Finding, Record, Severity, SplitName

_SHOWN = 50
NearPolicy = Literal["auto", "error", "warning", "ignore"]


def check_leaks(found: Inspected, near: NearPolicy) -> list[Finding]:
    """Check groups, exact copies and near duplicates across splits."""
    return [*_check_groups(found), *_check_copies(found), *_check_near(found, near)]


def _check_groups(found: Inspected) -> Iterator[Finding]:
    """Groups that folders or columns tear apart."""
    first: dict[str, tuple[Record, SplitName]] = {}
    told: set[str] = set()
    for record, split in zip(found.records, found.splits, strict=True):
        if record.group is None:
            continue
        other, other_split = first.setdefault(record.group, (record, split))
        if split != other_split and record.group not in told:
            told.add(record.group)
            reason = (
                f"group {record.group!r} is in {other_split} ({other.path}) and in {split} ({record.path})"
            )
            yield Finding("group_leak", "error", record.source, reason)


def _check_copies(found: Inspected) -> Iterator[Finding]:
    """Exact copies: with other labels, torn apart, or moved because folders tore them apart."""
    copies = equal_rows(found.facts["sha256"])
    for rows in copies:
        first = found.records[rows[0]]
        for row in rows[1:]:
            record = found.records[row]
            if sorted(found.labels_of(row)) != sorted(found.labels_of(rows[0])):
                reason = (
                    f"{record.path} is a copy of {first.path} with another label: "
                    f"{_labels(found, row)} instead of {_labels(found, rows[0])}"
                )
                yield Finding("conflicting_labels", "warning", record.source, reason)
            if found.splits[row] != found.splits[rows[0]]:
                reason = (
                    f"{record.path} in {found.splits[row]} is a copy of {first.path} "
                    f"in {found.splits[rows[0]]}"
                )
                yield Finding("copy_leak", "error", record.source, reason)
            elif record.split != first.split and record.split and first.split:
                reason = (
                    f"{record.path} ({record.split}) is a copy of {first.path} ({first.split}): "
                    f"both are in {found.splits[row]} now"
                )
                yield Finding("copy_moved", "warning", record.source, reason)
    if copies:
        extra = sum(len(rows) - 1 for rows in copies)
        a, b = (found.records[row].path for row in copies[0][:2])
        what = f"{extra} images are exact copies of others" if extra > 1 else "an image is a copy of another"
        reason = f"{what} (first: {b} of {a}); copies share a split"
        yield Finding("copies", "warning", b, reason)


def equal_rows(column: pa.ChunkedArray) -> list[list[int]]:
    """Rows of each value that stands in more than one."""
    codes = column.combine_chunks().dictionary_encode().indices.to_numpy()
    rows_of: defaultdict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(np.bincount(codes)[codes] > 1).tolist():
        rows_of[codes[row]].append(row)
    return list(rows_of.values())


def _labels(found: Inspected, row: int) -> str:
    return ", ".join(sorted(set(found.labels_of(row)))) or "no label"


def _check_near(found: Inspected, policy: NearPolicy) -> Iterator[Finding]:
    """Images that look alike in two splits; frames of one group share a split and are no leak."""
    if policy == "ignore":
        return
    grouped = any(record.group is not None for record in found.records)
    fatal = policy == "error" or (policy == "auto" and grouped)
    severity: Severity = "error" if fatal else "warning"
    pairs = find_near_duplicates(found.facts["phash"])
    contents = found.facts["sha256"]
    leaks = [(a, b) for a, b in pairs if found.splits[a] != found.splits[b] and contents[a] != contents[b]]
    for a, b in leaks[:_SHOWN]:
        one, two = found.records[a], found.records[b]
        reason = (
            f"{one.path} in {found.splits[a]} looks like {two.path} in {found.splits[b]}; "
            "give them one group, or set data.near_duplicates if they differ"
        )
        yield Finding("near_duplicate", severity, one.source or one.path, reason)
    if len(leaks) > _SHOWN:
        reason = f"{len(leaks)} pairs of images look alike across splits; the first {_SHOWN} are listed"
        yield Finding("near_duplicate", severity, "data", reason)
