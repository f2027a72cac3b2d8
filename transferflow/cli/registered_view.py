"""How registered versions are shown: a table, a page of text, JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from transferflow.text import four_digits, printable

if TYPE_CHECKING:
    from transferflow.registry.base import AuditEvent, RegisteredVersion

_ENDS = ("_low", "_high")
_ORIGIN = ("decided", "spec", "prepare_key", "train_key", "evaluation_key", "snapshot", "freeze_proof")


def versions_table(found: Sequence[tuple[RegisteredVersion, Mapping[str, float]]]) -> Table:
    """A row per version."""
    table = Table()
    for name in ("model", "version", "aliases", "verdict", "metric", "decided"):
        table.add_column(name, overflow="fold", justify="right" if name == "version" else "left")
    for version, measured in found:
        row = (version.model, str(version.version), ", ".join(version.aliases))
        tags = version.tags
        more = (tags.get("verdict", ""), _deciding(version, measured), tags.get("decided", "")[:16])
        table.add_row(*map(printable, (*row, *more)))
    return table


def _deciding(version: RegisteredVersion, measured: Mapping[str, float]) -> str:
    name = version.tags.get("metric", "")
    return f"{name} {four_digits(measured[name])}" if name in measured else ""


def version_json(
    version: RegisteredVersion, measured: Mapping[str, float], trail: Sequence[AuditEvent] = ()
) -> dict[str, Any]:
    """A version as plain JSON data."""
    return {
        "model": version.model,
        "version": version.version,
        "uri": version.uri,
        "aliases": list(version.aliases),
        "verdict": version.tags.get("verdict"),
        "reasons": version.tags.get("reasons", "").splitlines(),
        "metrics": dict(measured),
        "tags": dict(version.tags),
        "trail": [asdict(event) for event in trail],
    }


def version_text(
    version: RegisteredVersion, measured: Mapping[str, float], trail: Sequence[AuditEvent]
) -> str:
    """A version for a person."""
    tags = version.tags
    aliases = ", ".join(version.aliases) or "no alias"
    lines = [f"{version.model} version {version.version} ({aliases})", f"  {'uri':<15} {version.uri}"]
    lines += [f"  {name.replace('_', ' '):<15} {tags[name]}" for name in _ORIGIN if tags.get(name)]
    if "verdict" in tags:
        lines += ["", f"{tags['verdict']}", *(f"  {reason}" for reason in tags["reasons"].splitlines())]
    if version.is_half_made:
        lines += [f"  not carried out: `transferflow models repair {version.model}`"]
    lines += ["", "measured on the test images"]
    lines += [f"  {_metric_line(name, measured)}" for name in measured if not name.endswith(_ENDS)]
    if trail:
        lines += ["", "what was done", *(f"  {_event_line(event)}" for event in trail)]
    return "\n".join(lines)


def _metric_line(name: str, measured: Mapping[str, float]) -> str:
    low, high = (measured.get(name + end) for end in _ENDS)
    interval = "" if low is None or high is None else f"  (95 % {four_digits(low)} to {four_digits(high)})"
    return f"{name:<26} {four_digits(measured[name])}{interval}"


def _event_line(event: AuditEvent) -> str:
    instead = f", in place of version {event.replaced}" if event.replaced else ""
    why = f": {event.reason}" if event.reason else ""
    return f"{event.when[:16]}  version {event.version} {event.action} by {event.by}{instead}{why}"
