"""Stage 1: files become a snapshot."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from transferflow.data.checks.findings import load_findings, summarize_findings
from transferflow.data.listing import listing_digest, load_listing
from transferflow.data.loading.workers import usable_cpus
from transferflow.data.records import DatasetSnapshot, Listing
from transferflow.data.snapshot.build import build_snapshot, load_snapshot
from transferflow.data.snapshot.shards import Inspect
from transferflow.errors import TransferflowError
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.keys import prepare_inputs
from transferflow.stages.names import require_known_classes
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.progress import file_bar, logger
from transferflow.store import ArtifactStore, digest

InspectIn = Callable[[Path], Inspect]
"""An inspection that keeps what it found in a folder until the snapshot is there."""


def prepare(spec: ExperimentSpec, context: RunContext, inspect_in: InspectIn | None = None) -> StageOutcome:
    """List, check, hash and split the data set; reuse the snapshot when nothing changed.

    Args:
        spec: The spec.
        context: Where and how stages run.
        inspect_in: Opens the files, on other machines for instance; left out: here, in a thread per core.
    """
    started = time.perf_counter()
    listing = load_listing(spec.data, spec.task.truth)
    require_known_classes(spec, listing.classes)
    inputs = prepare_inputs(spec, listing_digest(listing))
    key = digest(inputs)
    artifact = context.store.obtain(
        "prepare",
        key,
        inputs,
        lambda folder: _build(
            spec,
            context,
            listing,
            folder,
            inspect_in(context.store.work_folder("prepare", key)) if inspect_in else None,
        ),
        wait=context.wait,
    )
    remember_snapshot(context.store, spec, inputs, key)
    snapshot = load_snapshot(artifact.path)
    return StageOutcome(
        "prepare",
        key,
        str(artifact.path),
        artifact.reused,
        time.perf_counter() - started,
        {
            "images": dict(snapshot.counts),
            "classes": len(snapshot.classes),
            "quarantined": snapshot.quarantined,
            "fingerprint": snapshot.fingerprint,
        },
    )


def _build(
    spec: ExperimentSpec, context: RunContext, listing: Listing, folder: Path, inspect: Inspect | None
) -> None:
    logger.info("prepare: %d images under %s", len(listing.records), listing.root)
    with file_bar("checking images", context.interactive) as progress:
        build_snapshot(
            spec.data,
            spec.task.truth,
            listing,
            folder,
            previous=previous_snapshot(context.store, spec),
            workers=usable_cpus(),
            progress=progress,
            inspect=inspect,
        )
    findings = load_findings(folder)
    for sentence in summarize_findings(findings):
        logger.warning("warning: %s", sentence)
    if findings:
        logger.warning("all findings one by one: `transferflow data check SPEC --limit %d`", len(findings))


def remember_snapshot(
    store: ArtifactStore, spec: ExperimentSpec, inputs: dict[str, object], key: str
) -> None:
    """Note the spec's latest snapshot: the next one keeps its splits and re-reads only what changed."""
    store.remember_inputs("prepare", spec.name, inputs | {"key": key})


def previous_snapshot(store: ArtifactStore, spec: ExperimentSpec) -> DatasetSnapshot | None:
    """The spec's latest snapshot of the same folder, if it is still there and readable."""
    last = store.last_inputs("prepare", spec.name)
    if last is None or last.get("data", {}).get("root") != spec.data.root:
        return None
    if last.get("data", {}).get("split") != spec.data.split.model_dump(mode="json"):
        return None
    artifact = store.find("prepare", str(last.get("key", "none")))
    try:
        return load_snapshot(artifact.path) if artifact else None
    except TransferflowError:
        return None
