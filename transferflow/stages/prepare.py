"""Stage 1: files become a snapshot."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from transferflow.cpus import usable_cpus
from transferflow.data.checks.findings import EXAMPLES, group_findings, load_findings, summarize_findings
from transferflow.data.listing import load_listing
from transferflow.data.records import DatasetSnapshot, Listing
from transferflow.data.remote.address import is_remote, shown_root
from transferflow.data.remote.copies import forget_copies
from transferflow.data.snapshot.build import build_snapshot, load_snapshot
from transferflow.data.snapshot.changes import changed_files, without_facts
from transferflow.data.snapshot.shards import Inspect
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.former import PrepareInputs, complete_prepare_inputs, remember_snapshot
from transferflow.stages.names import require_known_classes
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.progress import file_bar, logger
from transferflow.stages.slices import require_known_slices
from transferflow.stages.told import tell_inputs
from transferflow.store import Artifact
from transferflow.text import counted

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
    if context.verify and is_remote(spec.data.root):
        forget_copies(spec.data.root)
    listing = load_listing(spec.data, spec.task.truth)
    require_known_classes(spec, listing.classes)
    require_known_slices(spec, listing)
    made_from = complete_prepare_inputs(spec, context.store, listing)
    key = made_from.key
    tell_inputs(spec, context, "prepare", key, made_from.inputs)

    def write(folder: Path) -> None:
        inspect = inspect_in(_work_folder(context, key)) if inspect_in else None
        _build(spec, context, listing, _before(context, made_from), folder, inspect)

    artifact = context.store.obtain(
        "prepare",
        key,
        made_from.inputs,
        write,
        wait=context.wait,
        accept=partial(_is_trusted, context, set()),
    )
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


def _is_trusted(context: RunContext, said: set[Path], artifact: Artifact) -> bool:
    """Whether a snapshot is of the files that are there; where nobody asks, size and time have said so."""
    changed = changed_files(load_snapshot(artifact.path), usable_cpus()) if context.verify else ()
    if changed and artifact.path not in said:
        said.add(artifact.path)  # it is looked at again once the key is ours
        logger.warning(
            "prepare: %s other contents than the snapshot, such as %s: it is made anew",
            counted(len(changed), "file has", "files have"),
            changed[0],
        )
    return not changed


def _before(context: RunContext, made_from: PrepareInputs) -> DatasetSnapshot | None:
    """The snapshot whose splits are kept, and whose facts about files are taken over by size and time."""
    if not context.verify:
        return made_from.former
    stale = context.store.find("prepare", made_from.key)
    return without_facts(load_snapshot(stale.path) if stale else made_from.former)


def _work_folder(context: RunContext, key: str) -> Path:
    """Where facts are kept until the snapshot is there; those of a former try go by size and time too."""
    folder = context.store.work_folder("prepare", key)
    if context.verify:
        shutil.rmtree(folder)
    return context.store.work_folder("prepare", key)


def _build(
    spec: ExperimentSpec,
    context: RunContext,
    listing: Listing,
    former: DatasetSnapshot | None,
    folder: Path,
    inspect: Inspect | None,
) -> None:
    root = shown_root(spec.data.root, listing.root)
    logger.info("prepare: %d images under %s", len(listing.records), root)
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
