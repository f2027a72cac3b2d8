"""A listing whose files have been opened: facts, splits and findings, before anything is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from transferflow.data.checks import check_examined, check_share
from transferflow.data.inspection import FACTS, Shard, inspect_shard
from transferflow.data.manifest import FACT_FIELDS, read_table
from transferflow.data.records import DatasetSnapshot, Finding, Listing, Record, SplitName
from transferflow.data.split import KnownSplits, assign_splits
from transferflow.spec.data import Data
from transferflow.spec.task import Task

SHARD_SIZE = 500
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Examined:
    """What is known about a data set once every file has been opened.

    Attributes:
        records: Records that can be used, sorted by id; boxes in pixels as seen.
        splits: Split of each.
        facts: What inspection found about each; columns as in `manifest.FACT_FIELDS`.
        findings: Everything that is odd or wrong, quarantined files included.
    """

    records: list[Record]
    splits: list[SplitName]
    facts: pa.Table
    findings: list[Finding]


def examine_listing(
    data: Data,
    task: Task,
    listing: Listing,
    *,
    previous: DatasetSnapshot | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Examined:
    """Open every file once, leave out the bad ones, split the rest, and check the whole.

    Files of the same path, size and time as in `previous` are not read again.
    """
    records = sorted(listing.records, key=lambda record: record.id)
    before = read_table(previous) if previous is not None and _same_view(previous, data, listing) else None
    view = Shard(listing.root, (), data.channels, data.intensity)
    facts = _collect_facts(view, records, before, workers, progress)
    good = pc.is_null(facts["problem"])
    bad = [
        Finding(kind, "quarantine", record.source or record.path, f"{record.path}: {problem}")
        for record, kind, problem in zip(
            records, facts["problem_kind"].to_pylist(), facts["problem"].to_pylist(), strict=True
        )
        if problem is not None
    ]
    records = [record for record, keep in zip(records, good.to_pylist(), strict=True) if keep]
    facts = facts.filter(good).select([field.name for field in FACT_FIELDS])
    hashes = facts["sha256"].to_pylist()
    known = known_splits(read_table(previous, ["id", "group", "sha256", "split"])) if previous else None
    content = {record.id: sha for record, sha in zip(records, hashes, strict=True)}
    assigned = assign_splits(records, data.split, content=content, known=known)
    splits = [assigned[record.id] for record in records]
    findings = [*listing.findings, *bad]
    findings += check_examined(task, listing.classes, records, splits, facts)
    findings += check_share(findings, len(listing.records), data.max_bad_fraction)
    return Examined(records, splits, facts, findings)


def known_splits(manifest: pa.Table) -> KnownSplits:
    """Splits that a former manifest gave to groups, contents and ids."""
    ids, groups, contents, splits = (
        manifest[name].to_pylist() for name in ("id", "group", "sha256", "split")
    )
    return KnownSplits(
        by_group={g: s for g, s in zip(groups, splits, strict=True) if g is not None},
        by_content=dict(zip(contents, splits, strict=True)),
        by_id=dict(zip(ids, splits, strict=True)),
    )


def _same_view(previous: DatasetSnapshot, data: Data, listing: Listing) -> bool:
    """Whether the former snapshot saw the same files in the same way."""
    intensity = data.intensity.model_dump(mode="json")
    return (previous.root, previous.channels, previous.intensity) == (listing.root, data.channels, intensity)


def _collect_facts(
    view: Shard,
    records: Sequence[Record],
    before: pa.Table | None,
    workers: int,
    progress: Progress | None,
) -> pa.Table:
    """Facts of all records, in order; those of unchanged files come from `before`."""
    names = [field.name for field in FACT_FIELDS]
    old_rows = _unchanged(view.root, records, before) if before is not None else {}
    fresh = [i for i in range(len(records)) if i not in old_rows]
    shards = [
        replace(view, paths=tuple(records[i].path for i in fresh[at : at + SHARD_SIZE]))
        for at in range(0, len(fresh), SHARD_SIZE)
    ]
    done, tables = len(old_rows), [FACTS.empty_table()]
    for table in _run_shards(shards, workers):
        tables.append(table)
        done += len(table)
        if progress:
            progress(done, len(records))
    place = {i: n for n, i in enumerate(fresh)}
    if before is not None and old_rows:
        reused = before.select(names).take(pa.array(list(old_rows.values())))
        place |= {i: len(fresh) + n for n, i in enumerate(old_rows)}
        nulls = pa.nulls(len(reused), pa.string())
        tables.append(reused.append_column("problem_kind", nulls).append_column("problem", nulls).cast(FACTS))
    return pa.concat_tables(tables).take(pa.array([place[i] for i in range(len(records))], pa.int64()))


def _unchanged(root: Path, records: Sequence[Record], before: pa.Table) -> dict[int, int]:
    """Row in `before` of each record whose file has the same path, size and time."""
    paths, sizes, times = (before[name].to_pylist() for name in ("path", "size", "mtime_ns"))
    rows = {path: row for row, path in enumerate(paths)}
    found = {}
    for i, record in enumerate(records):
        row = rows.get(record.path)
        if row is None:
            continue
        try:
            status = os.stat(root / record.path)  # noqa: PTH116 - one call per file of large data sets
        except OSError:
            continue
        if (status.st_size, status.st_mtime_ns) == (sizes[row], times[row]):
            found[i] = row
    return found


def _run_shards(shards: Sequence[Shard], workers: int) -> Iterator[pa.Table]:
    if workers <= 1:
        yield from map(inspect_shard, shards)
        return
    # Threads are enough: hashing and decoding release the interpreter lock.
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(inspect_shard, shards)
