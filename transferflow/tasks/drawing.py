"""Boxes and masks drawn over images, for reports and prediction overlays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from transferflow.data.records import Box
from transferflow.evaluation.pictures import ImageArray

COLOURS = (
    (230, 97, 1),
    (0, 114, 178),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (86, 180, 233),
    (213, 94, 0),
    (120, 94, 240),
)
"""One per class, repeated after the last; told apart by colour-blind readers too (Okabe and Ito)."""
OPACITY = 0.45


def class_colour(number: int) -> tuple[int, int, int]:
    """Colour of the class with this index."""
    return COLOURS[number % len(COLOURS)]


def _ink_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else (255, 255, 255)


def draw_boxes(
    image: ImageArray, boxes: Sequence[Box], classes: Sequence[str], scores: Sequence[float] | None = None
) -> ImageArray:
    """Draw boxes with their class, and their score where there is one, as far as the words fit.

    Args:
        image: H x W (gray) or H x W x 3.
        boxes: In pixels of the image.
        classes: Class names in order; an index is a colour.
        scores: One per box, 0..1.

    Returns:
        H x W x 3.
    """
    canvas = Image.fromarray(image).convert("RGB")
    draw = ImageDraw.Draw(canvas)
    side = max(canvas.size)
    line = max(1, round(side / 300))
    font = ImageFont.load_default(size=max(10, side / 45))
    for number, box in enumerate(boxes):
        colour = class_colour(classes.index(box.label))
        # A box may be thinner than a pixel; its last pixel must not stand before its first.
        right, bottom = max(box.x_min, box.x_max - 1), max(box.y_min, box.y_max - 1)
        draw.rectangle((box.x_min, box.y_min, right, bottom), outline=colour, width=line)
        text = "" if len(classes) == 1 else box.label
        if scores is not None:
            text = f"{text} {scores[number]:.2f}".strip()
        # A label wider than its box would hide the boxes beside it.
        if text and font.getlength(text) <= box.x_max - box.x_min:
            place = (box.x_min + line, max(0.0, box.y_min))
            draw.rectangle(draw.textbbox(place, text, font=font), fill=colour)
            draw.text(place, text, fill=_ink_on(colour), font=font)
    return np.asarray(canvas)


def draw_mask(image: ImageArray, mask: NDArray[np.uint8], hidden: Sequence[int] = (0, 255)) -> ImageArray:
    """Tint each pixel with the colour of its class, and draw the borders between classes.

    Args:
        image: H x W (gray) or H x W x 3.
        mask: H x W class indices.
        hidden: Indices that stay as they are: the background, which is the first class by custom, and
            ignored pixels.

    Returns:
        H x W x 3.
    """
    base = np.asarray(Image.fromarray(image).convert("RGB"), np.float32)
    table = np.array([class_colour(number) for number in range(256)], np.float32)
    opacity = np.full(256, OPACITY, np.float32)
    opacity[list(hidden)] = 0
    strength = opacity[mask][..., None]
    strength = np.where((_borders(mask) & ~np.isin(mask, list(hidden)))[..., None], 1.0, strength)
    tinted = base * (1 - strength) + table[mask] * strength
    return np.rint(tinted).astype(np.uint8)


def _borders(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels that have a neighbour of another class."""
    border = np.zeros(mask.shape, bool)
    down, across = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= across
    border[:, :-1] |= across
    return border
