"""What the checks of a data set found: kept beside its snapshot, refused, and told in a few lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from transferflow.data.records import Finding, Severity
from transferflow.errors import DataError
from transferflow.store import write_atomic
from transferflow.text import to_csv

QUARANTINE = "quarantine.csv"
FINDINGS = "findings.json"
SEVERITIES: tuple[Severity, ...] = ("error", "quarantine", "warning")
"""The worst first."""
EXAMPLES = 3
"""Findings of a kind that are shown where nobody asks for more."""


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


@dataclass(frozen=True)
class FindingGroup:
    """All findings of one kind and severity.

    Attributes:
        kind: The findings' kind.
        severity: Their severity.
        findings: At least one, in the order they were found.
    """

    kind: str
    severity: Severity
    findings: tuple[Finding, ...]


def group_findings(findings: Iterable[Finding]) -> tuple[FindingGroup, ...]:
    """Group findings by kind: errors first, then quarantined files, warnings; each by name."""
    groups: dict[tuple[Severity, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.kind), []).append(finding)
    ordered = sorted(groups.items(), key=lambda item: (SEVERITIES.index(item[0][0]), item[0][1]))
    return tuple(FindingGroup(kind, severity, tuple(found)) for (severity, kind), found in ordered)


def refuse_errors(findings: Sequence[Finding]) -> None:
    """Raise if any finding is an error.

    Raises:
        DataError: Tells the errors and the quarantined files, and how to see all of them.
    """
    bad = [f for f in findings if f.severity != "warning"]
    errors = sum(f.severity == "error" for f in bad)
    if not errors:
        return
    rest = any(len(group.findings) > EXAMPLES for group in group_findings(bad))
    raise DataError(
        f"the data set has {errors:,} errors" if errors > 1 else "the data set has an error",
        found="\n".join(summarize_findings(bad)),
        hint=f"`transferflow data check SPEC --limit {len(bad)}` lists all {len(bad):,}" if rest else "",
    )


def summarize_findings(findings: Sequence[Finding]) -> tuple[str, ...]:
    """One sentence per kind: how many there are, and the first few; what is worst first."""
    return tuple(_sentence(group) for group in group_findings(findings))


def _sentence(group: FindingGroup) -> str:
    found = group.findings
    shown = found[:EXAMPLES]
    if len(found) > 1 and len({finding.reason for finding in found}) == 1:
        examples = f"{', '.join(finding.where for finding in shown)}: {found[0].reason}"
    else:
        examples = "; ".join(_told(finding) for finding in shown)
    more = f" (and {len(found) - len(shown):,} more)" if found[len(shown) :] else ""
    return f"{_count(group)}{examples}{more}"


def _told(finding: Finding) -> str:
    """Where and why; a reason that begins with the place says it once."""
    where, reason = finding.where, finding.reason
    return reason if reason.startswith(where) else f"{where}: {reason}"


def _count(group: FindingGroup) -> str:
    count = len(group.findings)
    if group.severity == "quarantine":
        return f"{count:,} files are left out: " if count > 1 else "a file is left out: "
    return f"{group.kind.replace('_', ' ')}, {count:,} times: " if count > 1 else ""
