"""Boxes: what makes one wrong, and how they are laid onto the image as it is seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from transferflow.data.records import Box, Finding, Record

FRACTIONS = (1, 1)
"""Frame of boxes that are given as fractions of the image."""
ROUNDING = 1.0
"""Pixels by which a box may leave the image without a word: annotation tools round."""
Edges = tuple[float, float, float, float]


def box_problem(box: Box) -> tuple[str, str] | None:
    """Kind and reason of what is wrong with a box in itself, if anything is."""
    edges = (box.x_min, box.y_min, box.x_max, box.y_max)
    if not all(math.isfinite(edge) for edge in edges):
        return "bad_box", "has an edge that is not a finite number"
    width, height = box.x_max - box.x_min, box.y_max - box.y_min
    if width < 0 or height < 0:
        return "inverted_box", f"is inverted: {width:g} wide and {height:g} high"
    if width == 0 or height == 0:
        return "empty_box", f"is empty: {width:g} wide and {height:g} high"
    return None


def bad_boxes_finding(path: str, file: str, boxes: Sequence[Box], *, indexed: bool = False) -> Finding | None:
    """One finding for an image whose boxes are wrong in themselves; such an image is left out.

    Args:
        path: The image.
        file: Its annotation file.
        boxes: Its boxes.
        indexed: Whether `line` is an index of the annotations in JSON, and not a line.
    """
    found = [(box, problem) for box in boxes if (problem := box_problem(box)) is not None]
    if not found:
        return None
    box, (kind, reason) = found[0]
    more = f"; {len(found) - 1} more of its boxes are bad" if len(found) > 1 else ""
    where = f"{file}:annotations[{box.line}]" if indexed else f"{file}:{box.line}"
    return Finding(kind, "quarantine", where, f"{path}: the box of {box.label!r} {reason}{more}")


@dataclass(frozen=True)
class Seen:
    """An image as it is seen.

    Attributes:
        width: Pixels, EXIF orientation applied.
        height: Pixels, EXIF orientation applied.
        orientation: EXIF orientation, 1 to 8.
    """

    width: int
    height: int
    orientation: int

    @property
    def stored(self) -> tuple[int, int]:
        """Width and height of the pixels as the file stores them."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)

    def matches(self, frame: tuple[int, int] | None) -> bool:
        """Whether annotations of an image of this size can be laid onto the image."""
        return frame in (None, FRACTIONS, (self.width, self.height), self.stored)

    def turns(self, frame: tuple[int, int] | None) -> bool:
        """Whether annotations were made on the stored pixels and have to be turned like the image.

        Told by the size alone: where both sizes are equal, annotations are taken as made on the image
        as it is seen, as annotation tools show it.
        """
        return frame == self.stored and frame != (self.width, self.height)


def fit_boxes(
    record: Record, seen: Seen, outside: Literal["clip", "reject"]
) -> tuple[Record | None, list[Finding]]:
    """Lay a record's boxes onto its image, in pixels.

    Returns:
        The record with fitted boxes (`None`: it can't be used), and what was found.
    """
    if not seen.matches(record.frame):
        width, height = record.frame or (0, 0)
        reason = f"{record.path} has {seen.width} x {seen.height} pixels, its annotations {width} x {height}"
        if (height, width) == (seen.width, seen.height):
            reason += " (are width and height swapped?)"
        return None, [Finding("size_mismatch", "quarantine", record.source, reason)]
    fitted, left = [], []
    for box in record.boxes:
        edges = _edges_as_seen(box, seen, record.frame)
        inside = _clip(edges, seen)
        if inside[2] - inside[0] <= 0 or inside[3] - inside[1] <= 0:
            reason = f"{record.path}: the box of {box.label!r} lies outside the image: {_show(edges)}"
            severity: Literal["quarantine", "error"] = "quarantine" if outside == "clip" else "error"
            return None, [Finding("box_outside", severity, box_source(record, box), reason)]
        if max(abs(a - b) for a, b in zip(edges, inside, strict=True)) > ROUNDING:
            left.append((box, edges))
        x_min, y_min, x_max, y_max = inside
        area = box.area and box.area * _share_inside(edges, inside)
        fitted.append(replace(box, x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max, area=area))
    return replace(record, boxes=tuple(fitted), frame=None), _outside_findings(record, left, seen, outside)


def _outside_findings(
    record: Record, left: Iterable[tuple[Box, Edges]], seen: Seen, outside: Literal["clip", "reject"]
) -> list[Finding]:
    return [
        Finding(
            "box_outside",
            "error" if outside == "reject" else "warning",
            box_source(record, box),
            f"{record.path}: the box of {box.label!r} leaves the image of {seen.width} x {seen.height}: "
            f"{_show(edges)}" + ("" if outside == "reject" else "; cut at the border"),
        )
        for box, edges in left
    ]


def box_source(record: Record, box: Box) -> str:
    """Where the annotation file says so: its line, or the index of the annotation."""
    file, _, place = record.source.rpartition(":")
    return f"{file}:annotations[{box.line}]" if place.startswith("images[") else f"{file}:{box.line}"


def _edges_as_seen(box: Box, seen: Seen, frame: tuple[int, int] | None) -> Edges:
    edges = (box.x_min, box.y_min, box.x_max, box.y_max)
    if frame == FRACTIONS:
        return edges[0] * seen.width, edges[1] * seen.height, edges[2] * seen.width, edges[3] * seen.height
    return turn_edges(edges, seen) if seen.turns(frame) else edges


def turn_edges(edges: Edges, seen: Seen) -> Edges:
    """Move a box from the stored pixels onto the image as it is seen."""
    x_min, y_min, x_max, y_max = edges
    if seen.orientation in (5, 6, 7, 8):
        x_min, y_min, x_max, y_max = y_min, x_min, y_max, x_max
    if seen.orientation in (3, 4, 7, 8):
        y_min, y_max = seen.height - y_max, seen.height - y_min
    if seen.orientation in (2, 3, 6, 7):
        x_min, x_max = seen.width - x_max, seen.width - x_min
    return x_min, y_min, x_max, y_max


def _clip(edges: Edges, seen: Seen) -> Edges:
    x_min, y_min, x_max, y_max = edges
    width, height = float(seen.width), float(seen.height)
    return max(x_min, 0.0), max(y_min, 0.0), min(x_max, width), min(y_max, height)


def _share_inside(edges: Edges, inside: Edges) -> float:
    """Share of a box that lies in the image; one that lies in it wholly keeps its area to the last bit."""
    if edges == inside:
        return 1.0
    return (inside[2] - inside[0]) * (inside[3] - inside[1]) / ((edges[2] - edges[0]) * (edges[3] - edges[1]))


def _show(edges: Edges) -> str:
    return f"x {edges[0]:g}..{edges[2]:g}, y {edges[1]:g}..{edges[3]:g}"
