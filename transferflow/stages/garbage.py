"""Which artifacts somebody may still need, and the removal of the others.

Needed are the last runs of each spec, every version with an alias, what refreshing compares with, and all
that these were made from; of reports, those of these runs. What is younger than a day, or in use, stays too.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from transferflow.data.snapshot.build import load_snapshot
from transferflow.errors import TransferflowError
from transferflow.stages.artifacts import REGISTRATION
from transferflow.stages.context import RunContext
from transferflow.stages.former import remembered_keys
from transferflow.stages.old_pages import Page, find_old_pages
from transferflow.stages.refresh.record import read_record
from transferflow.stages.register.standing import report_path
from transferflow.store.garbage import Stored, remove_stored, stored_in
from transferflow.store.record import read_record as read_artifact_record

YOUNG_SECONDS = 24 * 3600.0
"""Artifacts younger than this stay: a run that is not registered yet may need them."""
UNFINISHED_SECONDS = 7 * 24 * 3600.0
"""Trainings that nobody has gone on with for so long are given up."""
Key = tuple[str, str]
"""Stage and key of an artifact."""


@dataclass(frozen=True)
class Collected:
    """What was removed, or would be.

    Attributes:
        removed: The folders.
        in_use: Folders that nobody needs but somebody is using.
        kept: Number of folders that stay because they are needed, or young.
        pages: Reports and sheets that were removed with their runs, or would be.
    """

    removed: tuple[Stored, ...]
    in_use: tuple[Stored, ...]
    kept: int
    pages: tuple[Page, ...] = ()

    @property
    def freed(self) -> int:
        """Bytes."""
        return sum(each.size for each in self.removed) + sum(page.size for page in self.pages)


def collect_garbage(context: RunContext, keep: int, dry_run: bool) -> Collected:
    """Remove what nobody needs.

    Args:
        context: Whose home is cleaned, and which registry has the aliases.
        keep: How many of the last runs of each spec stay.
        dry_run: Remove nothing.

    Raises:
        RegistryError: If the registry, which knows the champions, does not answer.
    """
    stored = list(stored_in(context.home))
    needed = needed_keys(context, [each for each in stored if each.kind == "artifacts"], keep)
    garbage = decide_garbage(stored, needed, time.time())
    removed = tuple(each for each in garbage if dry_run or remove_stored(context.home, each))
    in_use = tuple(each for each in garbage if each not in removed)
    stay = (each for each in stored if each.stage == "register" and each not in removed)
    reports = [report for each in stay if (report := _report_of(context, each)) is not None]
    pages = tuple(find_old_pages(context, reports, time.time() - YOUNG_SECONDS))
    if not dry_run:
        for page in pages:
            page.path.unlink(missing_ok=True)
    return Collected(removed, in_use, len(stored) - len(garbage), pages)


def decide_garbage(stored: Iterable[Stored], needed: set[Key], now: float) -> list[Stored]:
    """The folders that nobody needs.

    Args:
        stored: All there are.
        needed: Artifacts that somebody needs.
        now: Seconds since 1970.
    """
    limits = {"artifacts": YOUNG_SECONDS, "work": UNFINISHED_SECONDS, "tracking": UNFINISHED_SECONDS}
    return [
        each
        for each in stored
        if now - each.changed > limits[each.kind]
        and (each.kind != "artifacts" or (each.stage, each.key) not in needed)
    ]


def needed_keys(context: RunContext, stored: Sequence[Stored], keep: int) -> set[Key]:
    """Artifacts that somebody needs: roots, and all that they were made from."""
    made_from = {(each.stage, each.key): _inputs(each) for each in stored}
    snapshots = _snapshots(stored)
    needed: set[Key] = set()
    waiting = [*_roots(context, stored, made_from, keep)]
    while waiting:
        key = waiting.pop()
        if key not in needed:
            needed.add(key)
            waiting += _sources(made_from.get(key, {}), snapshots)
    return needed


def _roots(
    context: RunContext, stored: Sequence[Stored], made_from: dict[Key, dict[str, object]], keep: int
) -> Iterator[Key]:
    yield from remembered_keys(context.store)
    for path in context.refresh_records():
        record = read_record(path)
        yield from (("prepare", key) for key in (record.base, record.trained.key if record.trained else ""))
    runs: dict[object, list[Stored]] = defaultdict(list)
    for each in stored:
        if each.stage == "register":
            runs[made_from["register", each.key].get("name")].append(each)
            if _has_alias(context, each):
                yield "register", each.key
    for of_spec in runs.values():
        newest = sorted(of_spec, key=lambda each: each.changed, reverse=True)
        yield from (("register", each.key) for each in newest[:keep])


def _has_alias(context: RunContext, registered: Stored) -> bool:
    version = _version_of(registered)
    found = context.registry.lookup(version[0], str(version[1])) if version else None
    return found is not None and bool(found.aliases)


def _report_of(context: RunContext, registered: Stored) -> Path | None:
    """Where the report of a register stage is kept for people."""
    version = _version_of(registered)
    registry = _inputs(registered).get("registry")
    return report_path(context.reports, *version, str(registry)) if version else None


def _version_of(registered: Stored) -> tuple[str, int] | None:
    """Model and version of a register stage's artifact; `None` if it is damaged."""
    try:
        summary = json.loads((registered.path / REGISTRATION).read_text())
        return str(summary["model"]), int(summary["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sources(inputs: dict[str, object], snapshots: dict[str, list[Key]]) -> Iterator[Key]:
    """What an artifact was made from, as far as it was an artifact."""
    if "evaluation" in inputs:
        yield "evaluate", str(inputs["evaluation"])
    if "model" in inputs:
        yield "train", str(inputs["model"])
    yield from snapshots.get(str(inputs.get("snapshot")), ())


def _inputs(stored: Stored) -> dict[str, object]:
    record = read_artifact_record(stored.path)
    # The inputs of evaluate hold its own section under the key that register has for the artifact.
    found = dict(record.inputs) if record else {}
    return found if stored.stage == "register" else {k: v for k, v in found.items() if k != "evaluation"}


def _snapshots(stored: Sequence[Stored]) -> dict[str, list[Key]]:
    """Snapshots by fingerprint."""
    found: dict[str, list[Key]] = defaultdict(list)
    for each in stored:
        if each.stage == "prepare":
            try:
                found[load_snapshot(each.path).fingerprint].append(("prepare", each.key))
            except TransferflowError:
                continue
    return found
