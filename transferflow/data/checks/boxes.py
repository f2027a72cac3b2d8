"""Boxes that are right one by one, and can't be meant so: another unit or order, whole images, or twice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from transferflow.data.files.boxes import FRACTIONS, ROUNDING, Seen, box_source
from transferflow.data.records import Box, Finding, Record, Severity

_MANY = 0.5
_LEAST = 10
"""Boxes below which nothing is said of most of them."""
_SOME = 0.2
"""Share of the boxes above which whole images are no chance."""
_EDGE = 0.01
"""Share of a side that a box of the whole image may leave free; and of an area that is called the same."""
_PLACES = 3
"""Digits of a pixel to which two boxes are compared."""


@dataclass
class _Counts:
    """Of all boxes: those that look odd."""

    total: int = 0
    tiny: list[tuple[Record, Box]] = field(default_factory=list)
    fractions: int = 0
    outside: int = 0
    corners: int = 0
    whole: list[tuple[Record, Box]] = field(default_factory=list)
    areas: int = 0
    corner_areas: int = 0


def check_boxes(records: Sequence[Record], seen: Sequence[Seen], allowed: float) -> Iterator[Finding]:
    """Find boxes under a pixel, boxes that are corners where sizes are expected, and units that do not fit.

    Args:
        records: With boxes as their format has them.
        seen: Their images.
        allowed: `data.max_bad_fraction`: a share of the boxes here.
    """
    counts = _count(records, seen)
    yield from _tiny(counts, allowed)
    if counts.corner_areas > _MANY * counts.areas:
        yield _other_areas(counts, next(record for record in records if record.boxes))
    elif counts.outside > max(_MANY, allowed) * counts.total:
        yield from _misfits(counts, next(record for record in records if record.boxes))
    if counts.total >= _LEAST and len(counts.whole) > _SOME * counts.total:
        record, box = counts.whole[0]
        reason = (
            f"{len(counts.whole)} of {counts.total} boxes are their whole image (the first: {box.label!r} in "
            f"{record.path}): a label of an image is `task: {{kind: classification}}`"
        )
        yield Finding("whole_image", "warning", box_source(record, box), reason)


def _count(records: Sequence[Record], seen: Sequence[Seen]) -> _Counts:
    counts = _Counts()
    for record, image in zip(records, seen, strict=True):
        scale = (image.width, image.height) if record.frame == FRACTIONS else (1, 1)
        width, height = image.stored if image.turns(record.frame) else (image.width, image.height)
        x_end, y_end = width / scale[0], height / scale[1]
        for box in record.boxes:
            counts.total += 1
            if (box.x_max - box.x_min) * scale[0] < 1 or (box.y_max - box.y_min) * scale[1] < 1:
                counts.tiny.append((record, box))
            counts.fractions += record.frame != FRACTIONS and max(box.x_max, box.y_max) <= 1
            x_out, y_out = max(-box.x_min, box.x_max - x_end), max(-box.y_min, box.y_max - y_end)
            counts.outside += x_out > ROUNDING / scale[0] or y_out > ROUNDING / scale[1]
            counts.corners += _fits_as_corners(_as_written(box, record), x_end, y_end)
            if _is_whole(box, x_end, y_end):
                counts.whole.append((record, box))
            counts.areas += box.area is not None
            counts.corner_areas += _is_area_of_corners(box)
    return counts


def _is_whole(box: Box, x_end: float, y_end: float) -> bool:
    starts = box.x_min <= _EDGE * x_end and box.y_min <= _EDGE * y_end
    return starts and box.x_max >= (1 - _EDGE) * x_end and box.y_max >= (1 - _EDGE) * y_end


def _is_area_of_corners(box: Box) -> bool:
    """Whether the area that the file says is that of two corners, and not of a corner and a size."""
    if box.area is None:
        return False
    width, height = box.x_max - box.x_min, box.y_max - box.y_min
    as_corners = (width - box.x_min) * (height - box.y_min)
    is_own = math.isclose(box.area, width * height, rel_tol=_EDGE)
    return width > box.x_min and not is_own and math.isclose(box.area, as_corners, rel_tol=_EDGE)


def _other_areas(counts: _Counts, record: Record) -> Finding:
    reason = (
        f"{counts.corner_areas} of {counts.areas} boxes have the `area` of two corners: this format gives a "
        "corner and width and height"
    )
    return Finding("box_corners", "error", box_source(record, record.boxes[0]), reason)


def _tiny(counts: _Counts, allowed: float) -> Iterator[Finding]:
    if not counts.tiny:
        return
    record, box = counts.tiny[0]
    count = len(counts.tiny)
    severity: Severity = "error" if count > allowed * counts.total else "warning"
    reason = f"{count} of {counts.total} boxes are less than a pixel wide or high, in {record.path} first"
    if counts.fractions > _MANY * count:
        reason += ": they are fractions of the image, where pixels are expected"
    yield Finding("tiny_box", severity, box_source(record, box), reason)


def _misfits(counts: _Counts, record: Record) -> Iterator[Finding]:
    """Why most boxes leave their image; `record` is the first that has any."""
    where = box_source(record, record.boxes[0])
    leave = f"{counts.outside} of {counts.total} boxes leave their image"
    if counts.corners == counts.total:
        first = "the centre" if record.frame == FRACTIONS else "a corner"
        reason = f"{leave}, and all fit as two corners: this format gives {first} and width and height"
        yield Finding("box_corners", "error", where, reason)
    elif counts.total >= _LEAST:
        reason = f"{leave}: are they of images of another size, in another unit or in another order?"
        yield Finding("boxes_leave", "error", where, reason)


def _as_written(box: Box, record: Record) -> Box:
    """The numbers of the file, where the format gives centres: they come first, before width and height."""
    if record.frame != FRACTIONS:
        return box
    width, height = box.x_max - box.x_min, box.y_max - box.y_min
    x, y = box.x_min + width / 2, box.y_min + height / 2
    return replace(box, x_min=x, y_min=y, x_max=x + width, y_max=y + height)


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
