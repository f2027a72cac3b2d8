"""Boxes and masks drawn over images, for reports and prediction overlays."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from transferflow.data.records import Box
from transferflow.evaluation.pictures import ImageArray
from transferflow.tasks.rendering.label_places import PADDING, Mark, place_labels

COLOURS = (
    (230, 97, 1),
    (0, 114, 178),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (86, 180, 233),
    (170, 0, 34),
    (120, 94, 240),
)
"""One per class, repeated after the last; told apart by colour-blind readers too (after Okabe and Ito)."""
CROWD = (150, 150, 150)
OPACITY = 0.45
SMALL_SIDE = 320
"""Least long side of a picture with boxes, in pixels."""


def class_colour(number: int) -> tuple[int, int, int]:
    """Colour of the class with this index."""
    return COLOURS[number % len(COLOURS)]


def _ink_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else (255, 255, 255)


def draw_boxes(
    image: ImageArray, boxes: Sequence[Box], classes: Sequence[str], scores: Sequence[float] | None = None
) -> ImageArray:
    """Draw boxes with their class, and their score where there is one, as far as the words find room.

    Small images are enlarged by a whole factor first, so that lines and words stay thin. The best box lies
    on top; crowd regions, which count as no object, lie below all others, in gray.

    Args:
        image: H x W (gray) or H x W x 3.
        boxes: In pixels of the image.
        classes: Class names in order; an index is a colour.
        scores: One per box, 0..1.

    Returns:
        H x W x 3, or a multiple of it.
    """
    canvas = _enlarged(image)
    draw = ImageDraw.Draw(canvas)
    scale, side = canvas.width / image.shape[1], max(canvas.size)
    line = max(2, round(side / 300))
    marks = _marks(boxes, classes, scores, scale)
    for mark in marks:
        left, top, right, bottom = mark.edges
        # A box may be thinner than a pixel; its last pixel must not stand before its first.
        right, bottom = max(left, right - 1), max(top, bottom - 1)
        draw.rectangle((left, top, right, bottom), outline=mark.colour, width=1 if mark.crowd else line)
    font = ImageFont.load_default(size=max(10, side / 45))
    for mark, (left, top, right, bottom) in place_labels(marks, font, canvas.size, line):
        draw.rectangle((left, top, right - 1, bottom - 1), fill=mark.colour)
        corner = (left + PADDING, top + PADDING)
        draw.text(corner, mark.text, fill=_ink_on(mark.colour), font=font, anchor="lt")
    return np.asarray(canvas)


def _enlarged(image: ImageArray) -> Image.Image:
    canvas = Image.fromarray(image).convert("RGB")
    factor = -(-SMALL_SIDE // max(canvas.size))
    # Without smoothing: the pixels are what the model sees.
    size = (canvas.width * factor, canvas.height * factor)
    return canvas.resize(size, Image.Resampling.NEAREST) if factor > 1 else canvas


def _marks(
    boxes: Sequence[Box], classes: Sequence[str], scores: Sequence[float] | None, scale: float
) -> list[Mark]:
    """What is drawn, from the bottom up."""
    strength = [0.0] * len(boxes) if scores is None else scores
    order = sorted(range(len(boxes)), key=lambda n: (not boxes[n].crowd, strength[n]))
    marks = []
    for number in order:
        box = boxes[number]
        words = [] if len(classes) == 1 else [box.label]
        if box.crowd:
            words = ["crowd", *words]
        if scores is not None:
            words.append(f"{scores[number]:.2f}")
        edges = (box.x_min * scale, box.y_min * scale, box.x_max * scale, box.y_max * scale)
        colour = CROWD if box.crowd else class_colour(classes.index(box.label))
        marks.append(Mark(edges, colour, " ".join(words), box.crowd))
    return marks


def add_legend(image: ImageArray, classes: Sequence[str], shown: Collection[int]) -> ImageArray:
    """Put a strip below the picture that names the classes by their colour.

    Args:
        image: H x W x 3.
        classes: Class names in order.
        shown: Indices of those that the picture shows.
    """
    if not shown:
        return image
    height, width = image.shape[:2]
    font = ImageFont.load_default(size=max(10, max(height, width) / 45))
    row = round(font.getbbox("Ågj")[3]) + 4
    places, x, y = [], 0, height
    for number, name in ((number, classes[number]) for number in sorted(shown)):
        needed = row + round(font.getlength(name)) + row // 2
        if x and x + needed > width:
            x, y = 0, y + row
        places.append((x, y, number, name))
        x += needed
    canvas = Image.new("RGB", (width, y + row), (255, 255, 255))
    canvas.paste(Image.fromarray(image))
    draw = ImageDraw.Draw(canvas)
    for left, top, number, name in places:
        swatch = (left + 3, top + 3, left + row - 4, top + row - 4)
        draw.rectangle(swatch, fill=class_colour(number))
        draw.text((left + row, top + 2), name, fill=(0, 0, 0), font=font)
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
