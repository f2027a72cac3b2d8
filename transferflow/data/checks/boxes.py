"""Boxes that are right one by one, and can't be meant so: in another unit, in another order, or twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from transferflow.data.files.boxes import FRACTIONS, ROUNDING, Seen, box_source
from transferflow.data.records import Box, Finding, Record, Severity

_MANY = 0.5
_PLACES = 3
"""Digits of a pixel to which two boxes are compared."""


def check_boxes(records: Sequence[Record], seen: Sequence[Seen], allowed: float) -> Iterator[Finding]:
    """Find boxes under a pixel, and boxes that are corners where sizes are expected.

    Args:
        records: With boxes as their format has them.
        seen: Their images.
        allowed: `data.max_bad_fraction`: a share of the boxes here.
    """
    tiny: list[tuple[Record, Box]] = []
    fractions, total, outside, corners = 0, 0, 0, 0
    for record, image in zip(records, seen, strict=True):
        scale = (image.width, image.height) if record.frame == FRACTIONS else (1, 1)
        width, height = image.stored if image.turns(record.frame) else (image.width, image.height)
        for box in record.boxes:
            total += 1
            if (box.x_max - box.x_min) * scale[0] < 1 or (box.y_max - box.y_min) * scale[1] < 1:
                tiny.append((record, box))
            fractions += record.frame != FRACTIONS and max(box.x_max, box.y_max) <= 1
            x_end, y_end = width / scale[0], height / scale[1]
            outside += box.x_max > x_end + ROUNDING / scale[0] or box.y_max > y_end + ROUNDING / scale[1]
            corners += _fits_as_corners(box, x_end, y_end)
    if tiny:
        record, box = tiny[0]
        severity: Severity = "error" if len(tiny) > allowed * total else "warning"
        reason = f"{len(tiny)} of {total} boxes are less than a pixel wide or high, in {record.path} first"
        if fractions > _MANY * len(tiny):
            reason += ": they are fractions of the image, where pixels are expected"
        yield Finding("tiny_box", severity, box_source(record, box), reason)
    if outside > _MANY * total and corners == total:
        record = next(record for record in records if record.boxes)
        reason = (
            f"{outside} of {total} boxes leave their image, and all fit as two corners: this format gives a "
            "corner and width and height"
        )
        yield Finding("box_corners", "error", box_source(record, record.boxes[0]), reason)


def _fits_as_corners(box: Box, x_end: float, y_end: float) -> bool:
    """Whether width and height can be the second corner of a box."""
    x_max, y_max = box.x_max - box.x_min, box.y_max - box.y_min
    return box.x_min < x_max <= x_end and box.y_min < y_max <= y_end


def drop_equal_boxes(records: Sequence[Record]) -> tuple[list[Record], list[Finding]]:
    """Leave out boxes that stand twice in an image, and say how many; those of two classes are said alone."""
    kept: list[Record] = []
    equal: list[tuple[Record, Box]] = []
    torn: list[tuple[Record, Box]] = []
    for record in records:
        places: dict[tuple[float, ...], set[str]] = {}
        boxes: list[Box] = []
        for box in record.boxes:
            place = tuple(round(v, _PLACES) for v in (box.x_min, box.y_min, box.x_max, box.y_max))
            labels = places.setdefault((*place, box.crowd), set())
            if box.label in labels:
                equal.append((record, box))
                continue
            if labels:
                torn.append((record, box))
            labels.add(box.label)
            boxes.append(box)
        kept.append(record if len(boxes) == len(record.boxes) else replace(record, boxes=tuple(boxes)))
    return kept, [
        *_said("equal_boxes", equal, "stand there a second time, and are left out"),
        *_said("conflicting_boxes", torn, "have the very place of a box of another class"),
    ]


def _said(kind: str, boxes: Sequence[tuple[Record, Box]], what: str) -> Iterator[Finding]:
    if boxes:
        record, box = boxes[0]
        reason = f"{len(boxes)} boxes {what} (the first: {box.label!r} in {record.path})"
        yield Finding(kind, "warning", box_source(record, box), reason)
