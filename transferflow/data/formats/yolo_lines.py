"""Lines of YOLO label files: boxes, outlines, boxes with keypoints; lengths alone do not tell them apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from transferflow.data.formats.exact import InexactError, exact_whole
from transferflow.data.records import Box

Shape = Literal["boxes", "polygons", "keypoints"]
_BOX = 4
_PIXELS = 1.5
"""A coordinate above it is none of a box that leaves its image a little."""
_SLACK = 0.02
"""Share of the image by which a keypoint may lie outside its box."""


@dataclass(frozen=True, slots=True)
class LabelLine:
    """One line: a class and what follows it.

    Attributes:
        label: Class name.
        values: The numbers behind the class.
        number: Line in the file.
    """

    label: str
    values: tuple[float, ...]
    number: int


def parse_line(line: str, number: int, names: Mapping[int, str]) -> LabelLine | str:
    """Class and numbers of a line, or what is wrong with it."""
    cells = line.split()
    shown = repr(line.strip()[:60])
    if any("," in cell for cell in cells):
        return f"{shown} has commas: numbers are separated by blanks, and decimals have a point"
    try:
        index = exact_whole(cells[0])
        values = tuple(float(cell) for cell in cells[1:])
    except (InexactError, ValueError):
        if cells[0] in names.values():
            return f"{shown} names its class, where YOLO has the number of the class, counted from 0"
        return f"{shown} is not a class number and coordinates"
    if index not in names:
        return f"class {index} has no name; there are {min(names)} to {max(names)}, counted from 0"
    return LabelLine(names[index], values, number)


def decide_shape(lines: Iterable[LabelLine], keypoints: tuple[int, int] | None) -> Shape | LabelLine:
    """Decide what follows the class, where the spec does not say it.

    Outlines have as many points as they need. Keypoints are as many in every line, and lie in their box.

    Args:
        lines: Every line of the data set.
        keypoints: `kpt_shape` of the names file: how many keypoints, of how many numbers each.

    Returns:
        The shape; or a line that can be read as an outline and as a box with keypoints, like all others.
    """
    if keypoints is not None:
        return "keypoints"
    long = [line for line in lines if len(line.values) > _BOX + 1]
    if not long:
        return "boxes"
    alike = len({len(line.values) for line in long}) == 1
    return long[0] if alike and all(map(_fits_keypoints, long)) else "polygons"


def _fits_keypoints(line: LabelLine) -> bool:
    """Whether a box and points in it can be read, with or without a visibility of 0, 1 or 2."""
    (x, y, width, height), rest = line.values[:_BOX], line.values[_BOX:]
    if not (0 < width <= 1 and 0 < height <= 1):
        return False

    def inside(point: Sequence[float]) -> bool:
        return point[:2] == (0, 0) or (
            abs(point[0] - x) <= width / 2 + _SLACK and abs(point[1] - y) <= height / 2 + _SLACK
        )

    flat = [rest[i : i + 2] for i in range(0, len(rest), 2)]
    seen = [rest[i : i + 3] for i in range(0, len(rest), 3)]
    return (len(rest) % 2 == 0 and all(map(inside, flat))) or (
        len(rest) % 3 == 0 and all(inside(point) and point[2] in (0, 1, 2) for point in seen)
    )


def read_box(line: LabelLine, shape: Shape, keypoints: tuple[int, int] | None) -> Box | str:
    """Box of a line as fractions of the image, or what is wrong with it."""
    values = line.values
    wrong = _length_problem(len(values), shape, keypoints)
    if wrong:
        return wrong
    if shape == "keypoints" or len(values) == _BOX:
        values = values[:_BOX]
    if max(map(abs, values)) > _PIXELS:
        return f"{max(values):g} is no fraction of the image: YOLO's coordinates are 0 to 1, not pixels"
    if len(values) == _BOX:
        x, y, width, height = values
        return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2, line.label, line=line.number)
    xs, ys = values[::2], values[1::2]
    return Box(min(xs), min(ys), max(xs), max(ys), line.label, line=line.number)


def _length_problem(count: int, shape: Shape, keypoints: tuple[int, int] | None) -> str:
    found = f"{count} numbers behind the class"
    if count == _BOX + 1:
        return f"{found}: the fifth is a confidence, as predictions have it; labels have 4"
    if count == _BOX:
        return ""
    if shape == "keypoints":
        if keypoints is None:
            return "" if count > _BOX and not ((count - _BOX) % 2 and (count - _BOX) % 3) else found
        wanted = _BOX + keypoints[0] * keypoints[1]
        return "" if count == wanted else f"{found}; kpt_shape asks for {wanted}"
    if shape == "polygons" and count >= 6 and count % 2 == 0:
        return ""
    return f"{found}; allowed: 4 of a box, or an even number of 6 and more of an outline"
