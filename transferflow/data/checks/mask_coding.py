"""Values of masks that may mean something else than the spec says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from transferflow.data.formats.coco import BACKGROUND
from transferflow.data.records import Finding, MaskCoding
from transferflow.spec.sections.data import CocoData, Data
from transferflow.spec.sections.truth import MaskTruth

_MUCH = 0.2
"""Share of all pixels above which a void value has to be asked for."""
_MANY = 0.25
"""Share of the masks with a void value in which it outweighs what is there beside the largest class."""
_SHOWN = 8
_BYTE = 255


def check_coding(
    coding: MaskCoding, asked: MaskCoding, data: Data, truth: MaskTruth, facts: pa.Table
) -> list[Finding]:
    """Say what was read otherwise than usual, and refuse a usual reading that hides too much.

    Args:
        coding: What the values are taken for.
        asked: What the spec says.
        data: The spec's `data` section.
        truth: What the masks hold, as the spec says.
        facts: `mask_values` and `mask_counts` of each mask.
    """
    if isinstance(data, CocoData):
        return list(_check_unlabelled(data))
    if coding != asked:
        white, name = max(coding.values.items())
        # A truth has 8 bits: a larger value can't be named as one that does not count.
        saved = "" if white <= _BYTE else f"save them as {_BYTE} and "
        reason = (
            f"the masks hold no value but 0 and {white}: {white} is read as the class {name!r}; "
            f"if such pixels do not count, {saved}set task.ignore_index: {min(white, _BYTE)}"
        )
        return [Finding("mask_coding", "warning", "data.masks", reason)]
    if coding.colours or truth.ignore_index is not None:
        return []
    return list(_check_void(coding, facts))


def _check_unlabelled(data: CocoData) -> Iterator[Finding]:
    if data.classes is not None and BACKGROUND not in data.classes:
        reason = f"pixels without an object do not count: data.classes has no {BACKGROUND!r}"
        yield Finding("unlabelled_pixels", "warning", "data.classes", reason)


def _check_void(coding: MaskCoding, facts: pa.Table) -> Iterator[Finding]:
    void, rest, largest = void_counts(coding, facts)
    holds = void > 0
    if not holds.any():
        return
    share = void.sum() / max(1, void.sum() + rest.sum())
    outweighs = (void > rest - largest)[holds].mean()
    if share <= _MUCH and outweighs <= _MANY:
        return
    (value,) = coding.void
    reason = (
        f"the value {value} is {share:.1%} of all pixels, in {holds.sum()} of {len(void)} masks, and would "
        f"not count: set task.ignore_index: {value} if that is meant; if it is a class, save the class with "
        "its place in data.classes"
    )
    yield Finding("void_in_bulk", "error", "task.ignore_index", reason)


def void_counts(
    coding: MaskCoding, facts: pa.Table
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of each mask that do not count, that do, and of its largest class."""
    rows = zip(facts["mask_values"].to_pylist(), facts["mask_counts"].to_pylist(), strict=True)
    sums = []
    for values, counts in rows:
        held = [count for value, count in zip(values, counts, strict=True) if value not in coding.void]
        sums.append((sum(counts) - sum(held), sum(held), max(held, default=0)))
    found = np.array(sums, np.int64).reshape(-1, 3)
    return found[:, 0], found[:, 1], found[:, 2]


def mask_values(facts: pa.Table) -> list[int]:
    """Every value that a mask holds, sorted."""
    values: list[int] = pc.unique(facts["mask_values"].combine_chunks().flatten()).to_pylist()
    return sorted(values)


def values_note(coding: MaskCoding | None, facts: pa.Table) -> str:
    """The values that index masks hold, in words that follow a sentence; empty where they are colours."""
    if coding is None or coding.colours:
        return ""
    values = mask_values(facts)
    shown = ", ".join(map(str, values[:_SHOWN])) + (", …" if len(values) > _SHOWN else "")
    void = ", ".join(f"{value} does not count" for value in sorted(coding.void & set(values)))
    return f"; the masks hold the values {shown}" + (f" ({void})" if void else "")
