"""Where the words beside drawn boxes find room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

Rectangle = tuple[float, float, float, float]
"""Left, top, right and bottom edge in pixels of the picture."""
_MOST = 200
"""Labels of one picture: nobody reads more, and each looks at all boxes."""
_HIDDEN = 0.25
"""Largest share of any box that a label may lie on."""
PADDING = 1
"""Pixels between the words and the edge of their label."""


@dataclass(frozen=True)
class Mark:
    """One box as it is drawn.

    Attributes:
        edges: Where.
        colour: Red, green, blue.
        text: Words beside it; may be empty.
        crowd: Whether it is a region of objects that nobody has counted.
    """

    edges: Rectangle
    colour: tuple[int, int, int]
    text: str
    crowd: bool


def place_labels(
    marks: Sequence[Mark],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
    line: int,
) -> list[tuple[Mark, Rectangle]]:
    """Places for the labels in the box, above, below or beside it; the last mark chooses first.

    A label that would cover another one, or much of a box, is left out.

    Args:
        marks: From the bottom up.
        font: Of the labels.
        size: Width and height of the picture.
        line: Width of the boxes' lines.
    """
    boxes = np.array([mark.edges for mark in marks], float).reshape(-1, 4)
    room = np.maximum(_areas(boxes), 1.0) * _HIDDEN
    taken = np.zeros((0, 4))
    placed = []
    for mark in [mark for mark in reversed(marks) if mark.text][:_MOST]:
        words = font.getbbox(mark.text, anchor="lt")
        width, height = words[2] + 2 * PADDING, words[3] + 2 * PADDING
        for place in _candidates(mark.edges, width, height, size, line):
            if (_shared(place, boxes) <= room).all() and not _shared(place, taken).any():
                taken = np.vstack([taken, place])
                placed.append((mark, place))
                break
    return placed


def _candidates(
    edges: Rectangle, width: float, height: float, size: tuple[int, int], line: int
) -> Iterator[Rectangle]:
    left, top, right, bottom = edges
    # A box may leave the picture; its label stays in.
    x = min(max(left, 0.0), size[0] - width)
    y = min(max(top, 0.0), size[1] - height)
    corners = [(x, top - height), (x, bottom), (right, y), (left - width, y)]
    if width + 2 * line <= right - left:
        corners.insert(0, (x + line, y + line))
    for start, up in corners:
        if start >= 0 and up >= 0 and start + width <= size[0] and up + height <= size[1]:
            yield start, up, start + width, up + height


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def _shared(place: Rectangle, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.maximum(boxes[:, :2], place[:2]), np.minimum(boxes[:, 2:], place[2:])
    sides = np.clip(high - low, 0, None)
    shared: NDArray[np.float64] = sides[:, 0] * sides[:, 1]
    return shared
