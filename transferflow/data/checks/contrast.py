"""Images that are there and can be read, but show next to nothing once they are 8 bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from transferflow.data.checks.inspected import Inspected
from transferflow.data.records import Finding, Record, Severity
from transferflow.spec.sections.intensity import FullRange, Intensity, Percentile, Window

_FLAT = 16
"""An image that spans no more is next to one gray; 12 bits in a file of 16 span just so many."""
_LOST = 2
"""So many times more values in the file than after conversion: the conversion has lost them."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """An image and the values in its file."""

    record: Record
    kind: str
    low: float
    high: float


def check_contrast(found: Inspected, intensity: Intensity, allowed: float) -> Iterator[Finding]:
    """Find images that conversion made flat, and those that are flat in their files.

    Args:
        found: What was inspected.
        intensity: How values wider than 8 bits become 0..255.
        allowed: `data.max_bad_fraction`.
    """
    lost: list[_Stored] = []
    dark: list[_Stored] = []
    flat: list[_Stored] = []
    facts = (found.facts["contrast"].to_pylist(), found.facts["stored"].to_pylist())
    for record, contrast, stored in zip(found.records, *facts, strict=True):
        if stored is None:
            continue
        kind, low, high = stored.split()
        image = _Stored(record, kind, float(low), float(high))
        enough = 0.0 if kind.startswith("float") else _LOST * max(contrast, _FLAT)
        if kind != "uint8" and image.high - image.low > enough:
            (lost if contrast <= _FLAT else dark).append(image)
        elif contrast <= _FLAT:
            flat.append(image)
    total = len(found.records)
    gone = f"are next to one gray after conversion{_advise(intensity, lost)}"
    yield from _finding("contrast_lost", lost, total, gone, allowed)
    few = f"use a quarter of the gray values or less{_advise(intensity, dark)}"
    yield from _finding("low_contrast", dark, total, few, 1.0)
    yield from _finding("flat_image", flat, total, "are next to one gray in their files", 1.0)


def _finding(
    kind: str, images: Sequence[_Stored], total: int, what: str, allowed: float
) -> Iterator[Finding]:
    if images:
        first = images[0]
        severity: Severity = "error" if len(images) > allowed * total else "warning"
        values = f"{first.kind} values {first.low:g} to {first.high:g}"
        reason = f"{len(images)} of {total} images {what}; the first holds {values}"
        yield Finding(kind, severity, first.record.path, reason)


def _advise(intensity: Intensity, images: Sequence[_Stored]) -> str:
    match intensity:
        case _ if not images:
            return ""
        case FullRange():
            low, high = min(image.low for image in images), max(image.high for image in images)
            window = f"{{kind: window, level: {(low + high) / 2:g}, width: {high - low:g}}}"
            return f": set `intensity: {window}`, or `{{kind: percentile}}`, in `data`"
        case Percentile():
            return ": a few values lie far from the others; take other percentiles or a window"
        case Window(level=level, width=width):
            return f": data.intensity shows {level - width / 2:g} to {level + width / 2:g}"
        case _:
            assert_never(intensity)
