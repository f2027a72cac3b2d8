"""All that can be said about a data set before a GPU is touched."""

from __future__ import annotations

from transferflow.data.records import DatasetSnapshot, Finding, Listing, Severity
from transferflow.data.snapshot.examine import Progress, examine_listing
from transferflow.data.snapshot.shards import inspect_here
from transferflow.spec.sections.data import Data
from transferflow.spec.sections.task import Task

_ORDER: dict[Severity, int] = {"error": 0, "quarantine": 1, "warning": 2}


def check_listing(
    data: Data,
    task: Task,
    listing: Listing,
    *,
    previous: DatasetSnapshot | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Finding]:
    """Open every file and check everything; nothing is written.

    Args:
        data: The spec's `data` section.
        task: The spec's `task` section.
        listing: What the format lists.
        previous: A former snapshot, whose files are not read again if they have not changed.
        workers: Threads that read and decode.
        progress: Called with the number of files done and the number of all.

    Returns:
        Findings, errors first; the data set can be used if none is an error.
    """
    found = examine_listing(
        data, task, listing, previous=previous, inspect=inspect_here(workers), progress=progress
    )
    return sort_findings(found.findings)


def sort_findings(findings: list[Finding]) -> list[Finding]:
    """Errors first, then quarantined files, then warnings; each by kind, in the order they were found."""
    return sorted(findings, key=lambda finding: (_ORDER[finding.severity], finding.kind))
