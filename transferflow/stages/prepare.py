"""Stage 1: files become a snapshot."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from transferflow.data.checks.findings import EXAMPLES, group_findings, load_findings, summarize_findings
from transferflow.data.listing import load_listing
from transferflow.data.loading.workers import usable_cpus
from transferflow.data.records import DatasetSnapshot, Listing
from transferflow.data.snapshot.build import build_snapshot, load_snapshot
from transferflow.data.snapshot.shards import Inspect
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.former import complete_prepare_inputs, remember_snapshot
from transferflow.stages.names import require_known_classes
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.progress import file_bar, logger
from transferflow.stages.told import tell_inputs

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
    made_from = complete_prepare_inputs(spec, context.store, listing)
    key = made_from.key
    tell_inputs(spec, context, "prepare", key, made_from.inputs)

    def write(folder: Path) -> None:
        inspect = inspect_in(context.store.work_folder("prepare", key)) if inspect_in else None
        _build(spec, context, listing, made_from.former, folder, inspect)

    artifact = context.store.obtain("prepare", key, made_from.inputs, write, wait=context.wait)
    remember_snapshot(context.store, spec, made_from)
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
    spec: ExperimentSpec,
    context: RunContext,
    listing: Listing,
    former: DatasetSnapshot | None,
    folder: Path,
    inspect: Inspect | None,
) -> None:
    logger.info("prepare: %d images under %s", len(listing.records), listing.root)
    with file_bar("checking images", context.interactive) as progress:
        build_snapshot(
            spec.data,
            spec.task.truth,
            listing,
            folder,
            previous=former,
            workers=usable_cpus(),
            progress=progress,
            inspect=inspect,
        )
    findings = load_findings(folder)
    for sentence in summarize_findings(findings):
        logger.warning("warning: %s", sentence)
    if any(len(group.findings) > EXAMPLES for group in group_findings(findings)):
        logger.warning("all findings one by one: `transferflow data check SPEC --limit %d`", len(findings))
