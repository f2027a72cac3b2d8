"""Masks that do not fit their images, or hold values that are no classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from transferflow.data.files.boxes import Seen
from transferflow.data.formats.mask_coding import show_colour
from transferflow.data.formats.masks import MaskFiles
from transferflow.data.records import Finding, Record
from transferflow.text import counted

_SHOWN = 20
_FEW = 3
"""Values that follow each other by chance."""
_NOISE = 200
"""Values that are nearly all that a byte can hold."""


def check_masks(
    reader: MaskFiles, records: Sequence[Record], seen: Sequence[Seen], facts: pa.Table
) -> tuple[list[bool], list[tuple[str, ...]], list[Finding]]:
    """Compare masks with their images and with the class list.

    Returns:
        Whether each record can be used; the classes in the masks of those that can; the findings.
    """
    keep, classes, findings = [], [], []
    unknown: Counter[int] = Counter()
    first: dict[int, str] = {}
    sizes = zip(facts["mask_width"].to_pylist(), facts["mask_height"].to_pylist(), strict=True)
    for record, image, size, values in zip(
        records, seen, sizes, facts["mask_values"].to_pylist(), strict=True
    ):
        fits = image.matches(size)
        keep.append(fits)
        if not fits:
            reason = (
                f"{record.path} has {image.width} x {image.height} pixels, its mask {size[0]} x {size[1]}"
            )
            findings.append(Finding("size_mismatch", "quarantine", record.source, reason))
            continue
        indices = {value: reader.class_of(value) for value in values}
        for value, index in indices.items():
            if index is None:
                unknown[value] += 1
                first.setdefault(value, record.mask or record.path)
        present = set(indices.values()) - {None, reader.coding.ignored}
        classes.append(tuple(name for i, name in enumerate(reader.classes) if i in present))
    findings += _unknown_findings(reader, unknown, first)
    return keep, classes, [*findings, *_check_palettes(records, facts)]


def _check_palettes(records: Sequence[Record], facts: pa.Table) -> Iterator[Finding]:
    """Find values that palettes show in several colours, as tools do that count them anew in each file."""
    shown: defaultdict[int, dict[int, str]] = defaultdict(dict)
    values_of: defaultdict[int, set[int]] = defaultdict(set)
    columns = (facts["mask_values"].to_pylist(), facts["mask_colours"].to_pylist())
    for record, values, colours in zip(records, *columns, strict=True):
        if len(set(colours)) < len(values):  # no palette, or one that tells nothing apart
            continue
        for value, colour in zip(values, colours, strict=True):
            shown[value].setdefault(colour, record.mask or record.path)
            values_of[colour].add(value)
    several = [value for value in sorted(shown) if len(shown[value]) > 1]
    swapped = [value for value in several if any(len(values_of[colour]) > 1 for colour in shown[value])]
    if not several:
        return
    value = (swapped or several)[0]
    (one, first), (other, second) = [*shown[value].items()][:2]
    reason = (
        f"palettes show the value {value} in several colours: {show_colour(one)} in {first}, "
        f"{show_colour(other)} in {second}"
    )
    if swapped:
        reason += (
            ", and a colour stands for several values: if the colours say the class, set "
            "data.encoding: rgb with data.colours; else save all masks with one palette"
        )
    yield Finding("palettes_differ", "error" if swapped else "warning", second, reason)


def _unknown_findings(reader: MaskFiles, unknown: Counter[int], first: Mapping[int, str]) -> list[Finding]:
    allowed = _allowed(reader)
    findings = []
    for value, count in unknown.most_common(_SHOWN):
        reason = f"{reader.show(value)} is in {counted(count, 'mask')}, and is no class; allowed: {allowed}"
        findings.append(Finding("mask_value", "error", first[value], reason))
    if len(unknown) > _SHOWN:
        reason = f"{len(unknown)} values are no classes; {_SHOWN} are listed"
        findings.append(Finding("mask_value", "error", "masks", reason))
    return findings + _object_numbers(unknown, first)


def _object_numbers(unknown: Mapping[int, int], first: Mapping[int, str]) -> list[Finding]:
    """Say so where the values look as if they number objects."""
    if _FEW < len(unknown) < _NOISE and set(unknown) == set(range(min(unknown), max(unknown) + 1)):
        reason = (
            f"the values {min(unknown)} to {max(unknown)} follow each other: do they number objects? "
            "a mask holds the class of each pixel, not the object"
        )
        return [Finding("object_numbers", "error", first[min(unknown)], reason)]
    return []


def _allowed(reader: MaskFiles) -> str:
    coding = reader.coding
    if coding.colours:
        return (
            f"the {len(coding.values)} colours of data.colours; "
            "list it in data.void_colours if such pixels do not count"
        )
    return f"0 to {len(reader.classes) - 1} for the classes, {coding.ignored} for pixels that do not count"
