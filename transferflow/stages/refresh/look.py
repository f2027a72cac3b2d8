"""One look at a spec's data set: what is new, and is it worth a training?

A look at data that has not changed costs a listing and a `stat` per file; it loads no torch and writes
nothing.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from transferflow.data.checks.findings import load_findings
from transferflow.data.files.paths import split_mask
from transferflow.data.listing import load_listing
from transferflow.data.records import DatasetSnapshot, Finding, Listing
from transferflow.data.remote.address import shown_root
from transferflow.errors import DataError, PlanError, TransferflowError
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import registered_model
from transferflow.spec.sections.evaluation import Refresh
from transferflow.stages.context import RunContext
from transferflow.stages.refresh.decide import (
    Arrival,
    DataChange,
    RefreshDecision,
    decide_arrival,
    decide_drift_is_due,
    decide_loss,
    decide_refresh,
)
from transferflow.stages.refresh.peek import data_digest, peek_at_data
from transferflow.stages.refresh.record import RefreshRecord, Trained, read_record, write_record

_MISSING = "missing"
"""Kind of the findings about files that are named and not there."""
_CLOCKS_DIFFER = 60.0
"""Seconds by which a file server's clock may be ahead of this machine's."""


@dataclass(frozen=True)
class Look:
    """What a look found.

    Attributes:
        decision: What to do, and why.
        change: What changed since the last training, if that is known.
        is_news: Whether the last look came to something else.
    """

    decision: RefreshDecision
    change: DataChange | None
    is_news: bool


def require_rule(spec: ExperimentSpec) -> Refresh:
    """The spec's rule.

    Raises:
        PlanError: If it has none.
    """
    if spec.deployment.refresh is None:
        raise PlanError(
            "the spec does not say when to train again",
            where="deployment.refresh",
            hint='add `deployment: {refresh: {poll: "*/30 * * * *", min_changed: 50}}`',
        )
    return spec.deployment.refresh


def look_at_data(spec: ExperimentSpec, context: RunContext) -> Look:
    """Look at the data set, decide, and remember both; the caller holds the spec's refresh.

    Raises:
        PlanError: If the spec has no `deployment.refresh`.
        DataError: If the data set can't be used.
    """
    rule = require_rule(spec)
    path = context.refresh_record(spec.name)
    record = read_record(path)
    same = peek_at_data(spec, rule, path)
    if same is not None:
        return Look(same, record.change, is_news=False)
    listing = load_listing(spec.data, spec.task.truth)
    data = data_digest(spec, listing)
    last = record.trained or _last_registered(spec, context)
    days = last.days(datetime.now(UTC)) if last else None
    is_same = last is not None and (record.data, record.base) == (data, last.key)
    if is_same and record.change is not None and not decide_drift_is_due(rule, record.change):
        seen = replace(record, decision=decide_refresh(rule, record.change, days))
    else:
        seen = _compare(spec, context, rule, listing, last, days)
        is_known = last is not None and seen.change is not None
        seen = replace(seen, data=data if is_known else "", base=last.key if is_known and last else "")
        seen = replace(seen, trained=record.trained)
    write_record(path, seen)
    decision = seen.decision or decide_refresh(rule, None, None)
    return Look(
        decision, seen.change, is_news=(seen.decision, seen.change) != (record.decision, record.change)
    )


def require_no_loss(spec: ExperimentSpec, context: RunContext) -> None:
    """Refuse to train by schedule on a data set that has lost more than the spec's refresh allows.

    Raises:
        DataError: If it has.
    """
    rule = spec.deployment.refresh
    if rule is None:
        return
    record = read_record(context.refresh_record(spec.name))
    base = _load(context, record.trained or _last_registered(spec, context))
    if base is not None:
        lost = _decide_loss(rule, load_listing(spec.data, spec.task.truth), base)
        if lost is not None:
            raise DataError(lost.reason, where="deployment.refresh.max_removed")


def _decide_loss(rule: Refresh, listing: Listing, base: DatasetSnapshot) -> RefreshDecision | None:
    """Decide by the number of images alone, before any is opened."""
    before = sum(base.counts.values())
    return decide_loss(rule, min(before, len(listing.records)), before)


def _compare(
    spec: ExperimentSpec,
    context: RunContext,
    rule: Refresh,
    listing: Listing,
    last: Trained | None,
    days: float | None,
) -> RefreshRecord:
    """Wait for data that arrives, refuse a loss, and else hold the data against the last training's."""
    base = _load(context, last)
    early = decide_arrival(rule, _arrival(spec, listing, base))
    if early is None and base is not None:
        early = _decide_loss(rule, listing, base)
    if early is not None or base is None:
        return RefreshRecord(decision=early or decide_refresh(rule, None, days))
    from transferflow.data.snapshot.build import load_snapshot  # NumPy and pyarrow: most looks end before
    from transferflow.stages.prepare import prepare

    now = load_snapshot(prepare(spec, context).folder)
    change = _difference(base, now)
    if rule.drift is not None and decide_drift_is_due(rule, change):
        from transferflow.stages.refresh.drift import measure_drift  # loads torch

        change = replace(change, drift=measure_drift(spec, context, rule.drift, base, now))
    return RefreshRecord(change=change, decision=decide_refresh(rule, change, days))


def _difference(base: DatasetSnapshot, now: DatasetSnapshot) -> DataChange:
    from transferflow.data.snapshot.diff import compare_snapshots  # loads scipy
    from transferflow.data.snapshot.manifest import read_rows

    diff = compare_snapshots(base, now)
    added = set(diff.added)
    classes: Counter[str] = Counter()
    for row in read_rows(now) if added and now.classes else ():
        if row.id in added:
            classes.update({*row.labels, *(box.label for box in row.boxes)})
    return DataChange(
        images=sum(base.counts.values()),
        added=len(diff.added),
        removed=len(diff.removed),
        relabelled=len(diff.relabelled),
        edited=len(diff.edited),
        changed=diff.changed,
        new_per_class=dict(sorted(classes.items())),
    )


def _last_registered(spec: ExperimentSpec, context: RunContext) -> Trained | None:
    """The champion's snapshot, where no refresh has trained yet."""
    champion = context.registry.champion(registered_model(spec))
    if champion is None:
        return None
    return Trained(champion.tags.get("prepare_key", ""), champion.tags.get("decided", ""))


def _load(context: RunContext, trained: Trained | None) -> DatasetSnapshot | None:
    if trained is None or not trained.key:
        return None
    from transferflow.data.snapshot.build import load_snapshot

    artifact = context.store.find("prepare", trained.key)
    try:
        return load_snapshot(artifact.path) if artifact else None
    except TransferflowError:
        return None


def _arrival(spec: ExperimentSpec, listing: Listing, base: DatasetSnapshot | None) -> Arrival:
    at, youngest = max(_times(spec, listing), default=(0.0, ""))
    missing = [finding for finding in listing.findings if finding.kind == _MISSING]
    known = {finding.where for finding in _missing_before(base)}
    new = [finding for finding in missing if finding.where not in known]
    example = f"{new[0].where}: {new[0].reason}" if new else ""
    youngest = youngest or shown_root(spec.data.root, listing.root)
    return Arrival(time.time() - at, youngest, len(new), example)


def _missing_before(base: DatasetSnapshot | None) -> list[Finding]:
    try:
        return [each for each in load_findings(base.path) if each.kind == _MISSING] if base else []
    except TransferflowError:
        return []


def _times(spec: ExperimentSpec, listing: Listing) -> Iterator[tuple[float, str]]:
    """When each file that the listing names changed last, and each folder that holds one; `""` is the root.

    A copy that keeps the files' times (`cp -p`, `rsync -a`) still shows in their folders. A time that is
    still to come says nothing.
    """
    paths = {record.path for record in listing.records}
    paths |= {split_mask(record.mask)[0] for record in listing.records if record.mask is not None}
    paths |= set(_tables(spec))
    folders = {path.rpartition("/")[0] for path in paths} | {""}
    latest = time.time() + _CLOCKS_DIFFER
    for path in (*paths, *folders):
        try:
            status = os.stat(f"{listing.root}/{path}")  # noqa: PTH116 - one call per file of large data sets
        except OSError:
            continue
        if status.st_mtime <= latest:
            yield status.st_mtime, path


def _tables(spec: ExperimentSpec) -> Iterator[str]:
    """Files below the root that say what the images are."""
    named = getattr(spec.data, "file", None)
    if isinstance(named, str):
        yield named
    elif named is not None:
        yield from filter(None, named.model_dump().values())
