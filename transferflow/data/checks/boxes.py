"""Boxes that are right one by one, and can't be meant so: under a pixel, whole images, or twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from transferflow.data.checks.box_layout import BoxLayout
from transferflow.data.files.boxes import FRACTIONS, Seen, box_source
from transferflow.data.records import Box, Finding, Record, Severity
from transferflow.text import counted

_MANY = 0.5
_LEAST = 10
"""Boxes below which nothing is said of most of them."""
_SOME = 0.2
"""Share of the boxes above which whole images are no chance."""
_EDGE = 0.01
"""Share of a side that a box of the whole image may leave free."""
_CONVERT = (
    "in Python, with the file in `c`: "
    """`s = {i["id"]: [i["width"], i["height"]] * 2 for i in c["images"]}; """
    """[a.update(bbox=[v * f for v, f in zip(a["bbox"], s[a["image_id"]])]) for a in c["annotations"]]`"""
)
_EQUAL = (
    "box stands there a second time, and is left out",
    "boxes stand there a second time, and are left out",
)
_TORN = (
    "box has the very place of a box of another class",
    "boxes have the very place of a box of another class",
)
_PLACES = 3
"""Digits of a pixel to which two boxes are compared."""


@dataclass
class _Counts:
    """Of all boxes: those that look odd one by one."""

    total: int = 0
    tiny: list[tuple[Record, Box]] = field(default_factory=list)
    fractions: int = 0
    whole: list[tuple[Record, Box]] = field(default_factory=list)


def check_boxes(records: Sequence[Record], seen: Sequence[Seen], allowed: float) -> Iterator[Finding]:
    """Find boxes under a pixel, boxes that are corners where sizes are expected, and units that do not fit.

    Args:
        records: With boxes as their format has them.
        seen: Their images.
        allowed: `data.max_bad_fraction`: a share of the boxes here.
    """
    counts, layout = _count(records, seen)
    yield from _tiny(counts, allowed)
    if counts.fractions <= _MANY * counts.total:
        yield from layout.findings(allowed)
    if counts.total >= _LEAST and len(counts.whole) > _SOME * counts.total:
        record, box = counts.whole[0]
        reason = (
            f"{len(counts.whole)} of {counts.total} boxes are their whole image (the first: {box.label!r} in "
            f"{record.path}): a label of an image is `task: {{kind: classification}}`"
        )
        yield Finding("whole_image", "warning", box_source(record, box), reason)


def _count(records: Sequence[Record], seen: Sequence[Seen]) -> tuple[_Counts, BoxLayout]:
    counts, layout = _Counts(), BoxLayout()
    for record, image in zip(records, seen, strict=True):
        scale = (image.width, image.height) if record.frame == FRACTIONS else (1, 1)
        width, height = image.stored if image.turns(record.frame) else (image.width, image.height)
        x_end, y_end = width / scale[0], height / scale[1]
        for box in record.boxes:
            counts.total += 1
            if (box.x_max - box.x_min) * scale[0] < 1 or (box.y_max - box.y_min) * scale[1] < 1:
                counts.tiny.append((record, box))
            counts.fractions += record.frame != FRACTIONS and max(box.x_max, box.y_max) <= 1
            layout.add(record, box, (x_end, y_end), (width, height))
            if _is_whole(box, x_end, y_end):
                counts.whole.append((record, box))
    return counts, layout


def _is_whole(box: Box, x_end: float, y_end: float) -> bool:
    starts = box.x_min <= _EDGE * x_end and box.y_min <= _EDGE * y_end
    return starts and box.x_max >= (1 - _EDGE) * x_end and box.y_max >= (1 - _EDGE) * y_end


def _tiny(counts: _Counts, allowed: float) -> Iterator[Finding]:
    if not counts.tiny:
        return
    record, box = counts.tiny[0]
    count = len(counts.tiny)
    severity: Severity = "error" if count > allowed * counts.total else "warning"
    reason = f"{count} of {counts.total} boxes are less than a pixel wide or high, in {record.path} first"
    if counts.fractions > _MANY * count:
        reason += ": they are fractions of the image, where pixels are expected: multiply them by "
        reason += _factors(record)
    yield Finding("tiny_box", severity, box_source(record, box), reason)


def _factors(record: Record) -> str:
    """Width and height; of COCO with the line that does it, as the file says the sizes of its images."""
    is_coco = box_source(record, record.boxes[0]).endswith("]")
    return f"width and height, {_CONVERT}" if is_coco else "width and height"


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
        *_said("equal_boxes", equal, _EQUAL),
        *_said("conflicting_boxes", torn, _TORN),
    ]


def _said(kind: str, boxes: Sequence[tuple[Record, Box]], what: tuple[str, str]) -> Iterator[Finding]:
    """`what`: words for one box, and for several."""
    if boxes:
        record, box = boxes[0]
        reason = f"{counted(len(boxes), *what)} (the first: {box.label!r} in {record.path})"
        yield Finding(kind, "warning", box_source(record, box), reason)
