"""Large images in tiles: where the tiles lie, and how what was found in them becomes one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from transferflow.spec.sections.size import Size

OVERLAP = 0.25
"""Share of a tile's side that neighbours have in common at least."""
_EDGE = 2.0
"""How close a box comes to the edge that cuts it, in the model's pixels."""


@dataclass(frozen=True)
class Tile:
    """A window of an image.

    Attributes:
        left: Left edge in pixels of the image.
        top: Top edge.
        width: Width in pixels.
        height: Height in pixels.
    """

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class TilePredictions:
    """Predictions on the tiles of one image.

    Attributes:
        table: As the task's `predict` returns it; `id` is a number into `tiles`.
        tiles: Where they lie.
        size: Width and height of the image in pixels.
        classes: Class names in order.
        folder: Where large arrays (masks) lie.
        model_size: Height and width in pixels that the model sees a tile in.
    """

    table: pa.Table
    tiles: Sequence[Tile]
    size: tuple[int, int]
    classes: tuple[str, ...]
    folder: Path
    model_size: Size


@dataclass(frozen=True)
class TileBoxes:
    """What was found in one tile.

    Attributes:
        tile: Where it lies.
        boxes: N x 4 float32, x_min y_min x_max y_max in pixels of the tile.
        scores: N float32.
        labels: N class indices.
    """

    tile: Tile
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]


def decide_tiles(width: int, height: int, tile: Size, share: float) -> tuple[Tile, ...]:
    """Cover an image with equal tiles that overlap, row by row.

    Args:
        width: Of the image.
        height: Of the image.
        tile: Height and width of a tile in pixels; an image that is smaller gets a smaller tile.
        share: Of a tile's sides that neighbours have in common at least, from 0 to below 1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"the overlap ({share}) must be from 0 to below 1")
    rows, columns = tile
    return tuple(
        Tile(left, top, min(columns, width), min(rows, height))
        for top in _starts(height, rows, share)
        for left in _starts(width, columns, share)
    )


def shape_tile(longer: int, model_size: Size) -> Size:
    """Height and width of a tile with the shape that the model sees, so that nothing of it is padding."""
    most = max(model_size)
    return max(1, round(longer * model_size[0] / most)), max(1, round(longer * model_size[1] / most))


def _starts(extent: int, side: int, share: float) -> list[int]:
    if extent <= side:
        return [0]
    overlap = min(side - 1, round(side * share))
    count = -(-(extent - overlap) // (side - overlap))
    return [round(i * (extent - side) / (count - 1)) for i in range(count)]


def edge_margin(tile: Tile, image_size: Size) -> float:
    """Pixels from a tile's inner edge within which a box may be cut: a detector is no finer than this.

    Args:
        tile: The tile.
        image_size: Height and width in pixels that the model sees the tile in.
    """
    return max(1.0, _EDGE * max(tile.height / image_size[0], tile.width / image_size[1]))


def merge_tile_boxes(
    found: list[TileBoxes], width: int, height: int, nms_threshold: float, margin: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Lead boxes of all tiles to the image, and keep one of those that show the same object.

    A box that ends at a tile's inner edge may be a part of an object: it yields to a whole box that covers
    it, whatever their scores.

    Args:
        found: Boxes per tile.
        width: Of the image.
        height: Of the image.
        nms_threshold: Overlap above which one of two boxes of a class goes: intersection over union, for
            a part over its own area.
        margin: Pixels of the image from a tile's inner edge within which a box counts as ending there.

    Returns:
        Boxes (N x 4, in pixels of the image), scores and labels, best score first.
    """
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(_shifted(f) for f in found)])
    scores = np.concatenate([np.zeros(0, np.float32), *(f.scores for f in found)])
    labels = np.concatenate([np.zeros(0, np.int64), *(f.labels for f in found)])
    cut = np.concatenate([np.zeros(0, bool), *(_cut(f, width, height, margin) for f in found)])
    kept = [
        index
        for label in np.unique(labels)
        for index in _suppress(boxes, scores, cut, np.flatnonzero(labels == label), nms_threshold)
    ]
    order = np.array(sorted(kept, key=lambda i: -scores[i]), dtype=np.int64)
    return boxes[order], scores[order], labels[order]


def _shifted(found: TileBoxes) -> NDArray[np.float32]:
    corner = np.array([found.tile.left, found.tile.top] * 2, np.float32)
    return found.boxes + corner


def _cut(found: TileBoxes, width: int, height: int, margin: float) -> NDArray[np.bool_]:
    tile, boxes = found.tile, found.boxes
    cut = np.zeros(len(boxes), bool)
    if tile.left > 0:
        cut |= boxes[:, 0] <= margin
    if tile.top > 0:
        cut |= boxes[:, 1] <= margin
    if tile.left + tile.width < width:
        cut |= boxes[:, 2] >= tile.width - margin
    if tile.top + tile.height < height:
        cut |= boxes[:, 3] >= tile.height - margin
    return cut


def _suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    cut: NDArray[np.bool_],
    candidates: NDArray[np.int64],
    threshold: float,
) -> list[int]:
    rest = candidates[np.lexsort((-scores[candidates], cut[candidates]))]
    kept = []
    while len(rest):
        best, rest = int(rest[0]), rest[1:]
        kept.append(best)
        shared = _intersections(boxes[best], boxes[rest])
        areas = _areas(boxes[rest])
        union = _areas(boxes[best][None])[0] + areas - shared
        same = shared > threshold * np.where(cut[rest], np.minimum(areas, union), union)
        rest = rest[~same]
    return kept


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    areas: NDArray[np.float32] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def _intersections(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    sides = np.clip(high - low, 0, None)
    shared: NDArray[np.float32] = sides[:, 0] * sides[:, 1]
    return shared


def merge_tile_masks(
    found: list[tuple[Tile, NDArray[np.uint8]]], width: int, height: int
) -> NDArray[np.uint8]:
    """Join class indices of all tiles; each pixel comes from the tile whose border is farthest from it.

    Args:
        found: Tiles and their masks (H x W).
        width: Of the image.
        height: Of the image.

    Returns:
        Class indices, height x width.
    """
    mask = np.zeros((height, width), np.uint8)
    depth = np.full((height, width), -1, np.int64)
    for tile, part in found:
        window = np.s_[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
        here = _depth(tile, width, height)
        better = here > depth[window]
        mask[window][better] = part[better]
        depth[window][better] = here[better]
    return mask


def _depth(tile: Tile, width: int, height: int) -> NDArray[np.int64]:
    """Distance of each pixel of the tile from the tile's inner edges."""
    across = _edge_distance(tile.width, tile.left > 0, tile.left + tile.width < width)
    down = _edge_distance(tile.height, tile.top > 0, tile.top + tile.height < height)
    return np.minimum(down[:, None], across[None, :])


def _edge_distance(extent: int, inner_start: bool, inner_end: bool) -> NDArray[np.int64]:
    position = np.arange(extent)
    far = np.full(extent, np.iinfo(np.int64).max)
    start = position if inner_start else far
    end = extent - 1 - position if inner_end else far
    return np.minimum(start, end)
