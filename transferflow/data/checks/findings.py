"""What the checks of a data set found: kept beside its snapshot, refused, and told in a few lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from transferflow.data.records import Finding, Severity
from transferflow.errors import DataError
from transferflow.store import write_atomic
from transferflow.text import to_csv

QUARANTINE = "quarantine.csv"
FINDINGS = "findings.json"
_SHOWN = 10
_ORDER: dict[Severity, int] = {"error": 0, "quarantine": 1, "warning": 2}


def sort_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first, then quarantined files, then warnings; each by kind, in the order they were found."""
    return sorted(findings, key=lambda finding: (_ORDER[finding.severity], finding.kind))


def write_findings(findings: Sequence[Finding], folder: Path) -> None:
    """Write all findings as JSON, and the quarantined files as CSV."""
    write_atomic(folder / FINDINGS, json.dumps([asdict(f) for f in findings], indent=1, ensure_ascii=False))
    rows = ((f.where, f.kind, f.reason) for f in findings if f.severity == "quarantine")
    write_atomic(folder / QUARANTINE, to_csv(("where", "kind", "reason"), rows))


def load_findings(folder: Path) -> tuple[Finding, ...]:
    """Read what `write_findings` wrote.

    Raises:
        DataError: If the file is missing or damaged.
    """
    try:
        return tuple(Finding(**fields) for fields in json.loads((folder / FINDINGS).read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            "the snapshot's findings are missing or damaged",
            where=str(folder / FINDINGS),
            found=str(error),
            hint="delete the folder: the next run prepares the data again",
        ) from error


def refuse_errors(findings: Sequence[Finding]) -> None:
    """Raise if any finding is an error.

    Raises:
        DataError: Shows the first findings and says how to see all.
    """
    errors = [f for f in findings if f.severity == "error"]
    if not errors:
        return
    bad = [f for f in findings if f.severity == "quarantine"]
    shown = [f"{f.where}: {f.reason}" for f in [*errors, *bad][:_SHOWN]]
    rest = len(errors) + len(bad) > _SHOWN
    raise DataError(
        f"the data set has {len(errors)} errors" if len(errors) > 1 else "the data set has an error",
        found="\n".join(shown),
        hint=f"`transferflow data check SPEC` lists all {len(errors) + len(bad)}" if rest else "",
    )


def summarize_findings(findings: Sequence[Finding]) -> tuple[str, ...]:
    """One sentence per kind: the first finding of it, and how many more there are; left-out files first."""
    kinds: dict[tuple[bool, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((finding.severity == "quarantine", finding.kind), []).append(finding)
    ordered = sorted(kinds.items(), key=lambda item: not item[0][0])
    return tuple(_sentence(is_left_out, found) for (is_left_out, _), found in ordered)


def _sentence(is_left_out: bool, found: Sequence[Finding]) -> str:
    first = f"{found[0].where}: {found[0].reason}"
    more = f" (and {len(found) - 1:,} more)" if found[1:] else ""
    left_out = f"{len(found):,} files are left out: " if found[1:] else "a file is left out: "
    return f"{left_out if is_left_out else ''}{first}{more}"
