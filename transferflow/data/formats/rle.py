"""COCO segmentations: polygons and run lengths, checked before C code sees them, and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferflow.data.formats.exact import show_value
from transferflow.limits import MAX_OUTLINE, MAX_PIXELS
from transferflow.text import counted

Size = tuple[int, int]
"""Width and height in pixels."""


def segmentation_problem(segmentation: Any, size: Size) -> str | None:  # noqa: ANN401 - JSON
    """Say what is wrong with a polygon list or an RLE mask, if anything is."""
    width, height = size
    if width * height > MAX_PIXELS:
        return f"an image of {width} x {height} pixels is too large for a mask"
    if isinstance(segmentation, list):
        return _polygon_problem(segmentation, size)
    if isinstance(segmentation, dict):
        return _rle_problem(segmentation, size)
    return "`segmentation` is neither polygons nor RLE"


def _polygon_problem(polygons: list[Any], size: Size) -> str | None:
    if not polygons:
        return "`segmentation` is empty"
    if not any(isinstance(polygon, list) for polygon in polygons):
        return "`segmentation` is one flat list, where a list of polygons is expected: [[x, y, x, y, …], …]"
    far = 2 * max(size)
    for polygon in polygons:
        if problem := _corner_problem(polygon):
            return problem
        # Compared and not computed with: a whole number may be larger than any floating-point number.
        if not all(-far <= v <= far + max(size) for v in polygon):
            return "a polygon has a coordinate far outside the image"
        outline = _outline(polygon)
        if outline > MAX_OUTLINE:
            return f"a polygon goes {outline:,.0f} pixels about; allowed are {MAX_OUTLINE:,}"
    return None


def _corner_problem(polygon: object) -> str | None:
    """Say what is wrong with the corners as such, if anything is."""
    if not isinstance(polygon, list):
        return f"`segmentation` has {show_value(polygon)} where a polygon is expected: [x, y, x, y, …]"
    other = [v for v in polygon if isinstance(v, bool) or not isinstance(v, int | float)]
    if other:
        return f"a polygon has a coordinate that is not a number: {show_value(other[0])}"
    if len(polygon) % 2:
        return f"a polygon has {len(polygon)} numbers, which are no pairs of x and y"
    if len(polygon) < 6:
        return f"a polygon has {counted(len(polygon) // 2, 'corner')}; three or more are needed"
    return None


def _outline(polygon: list[float]) -> float:
    """Pixels along the outline, as many steps as drawing it takes."""
    corners = np.asarray(polygon, np.float64).reshape(-1, 2)
    return float(np.abs(np.diff(corners, axis=0, append=corners[:1])).max(axis=1).sum())


def _rle_problem(rle: Mapping[str, Any], size: Size) -> str | None:
    width, height = size
    if rle.get("size") != [height, width]:
        return f"the RLE mask has size {rle.get('size')}, the image {[height, width]} (height, width)"
    counts = rle.get("counts")
    runs = _runs(counts) if isinstance(counts, str) else counts
    pixels = width * height
    if not isinstance(runs, list) or not all(isinstance(run, int) and 0 <= run <= MAX_PIXELS for run in runs):
        return "the RLE counts can't be read"
    if sum(runs) != pixels:
        return f"the RLE counts cover {sum(runs)} pixels, the image has {pixels}"
    return None


def _runs(text: str) -> list[int] | None:
    """Run lengths of a compressed RLE string: 5 bits a character, differences to the run before last."""
    runs: list[int] = []
    at = 0
    while at < len(text):
        value, shift, more = 0, 0, True
        while more:
            if at >= len(text) or shift > 40:
                return None
            bits = ord(text[at]) - 48
            if not 0 <= bits < 64:
                return None
            value |= (bits & 0x1F) << shift
            more, shift, at = bool(bits & 0x20), shift + 5, at + 1
            if not more and bits & 0x10:
                value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs


def encode_segmentation(segmentation: Any, size: Size) -> list[int]:  # noqa: ANN401 - JSON
    """Run lengths of a segmentation without a problem, as pycocotools would draw it.

    Returns:
        Lengths of the runs down the columns, outside and inside in turn, outside first.
    """
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        return counts if isinstance(counts, list) else _runs(counts) or []
    from faster_coco_eval import mask as rle_library  # loads OpenCV, which a plan can do without

    width, height = size
    rle = rle_library.merge(rle_library.frPyObjects(segmentation, height, width))
    counts = rle["counts"]
    return _runs(counts.decode() if isinstance(counts, bytes) else counts) or []


def draw_runs(runs: Sequence[int], canvas: NDArray[np.int32], value: int) -> None:
    """Set the pixels inside to a value; takes no more time than they are many.

    Args:
        runs: Lengths down the columns, outside first.
        canvas: W x H, contiguous: the transposed image, whose columns are its rows.
        value: What to set them to.
    """
    flat = canvas.reshape(-1)
    at = 0
    for outside, inside in zip(runs[::2], runs[1::2], strict=False):
        at += outside
        flat[at : at + inside] = value
        at += inside
