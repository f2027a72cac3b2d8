"""Annotations of images that are not there: a sign that images were lost, or that names do not fit."""

from __future__ import annotations

from transferflow.data.records import Finding


def orphans_finding(kind: str, where: str, count: int, total: int, what: str, allowed: float) -> Finding:
    """A warning about a few orphans; an error where they are more than bad images may be.

    Args:
        kind: Slug of the finding.
        where: The first of them.
        count: How many.
        total: Of how many.
        what: What they are and lack, such as `label files have no image`.
        allowed: `data.max_bad_fraction`.
    """
    reason = f"{count:,} of {total:,} {what}"
    if count <= allowed * total:
        return Finding(kind, "warning", where, reason)
    return Finding(kind, "error", where, f"{reason}; data.max_bad_fraction allows {allowed:.1%}")
