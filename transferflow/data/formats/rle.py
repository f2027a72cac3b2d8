"""COCO segmentations: polygons and run lengths, checked before C code sees them, and drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from transferflow.data.files.geometry import Pixels
from transferflow.limits import MAX_PIXELS

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
    far = 2 * max(size)
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            return "a polygon needs an even number of coordinates, six or more"
        if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in polygon):
            return "a polygon has a coordinate that is not a number"
        if not all(math.isfinite(v) and -far <= v <= far + max(size) for v in polygon):
            return "a polygon has a coordinate far outside the image"
    return None


def _rle_problem(rle: Mapping[str, Any], size: Size) -> str | None:
    width, height = size
    if rle.get("size") != [height, width]:
        return f"the RLE mask has size {rle.get('size')}, the image {[height, width]} (height, width)"
    counts = rle.get("counts")
    runs = _runs(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(isinstance(run, int) and run >= 0 for run in runs):
        return "the RLE counts can't be read"
    if sum(runs) != width * height:
        return f"the RLE counts cover {sum(runs)} pixels, the image has {width * height}"
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


def draw_segmentation(segmentation: Any, size: Size) -> Pixels:  # noqa: ANN401 - JSON
    """Rasterise a segmentation without a problem: uint8 H x W of 0 and 1, equal to pycocotools'."""
    from faster_coco_eval import mask as rle_library  # loads OpenCV, which a plan can do without

    width, height = size
    if isinstance(segmentation, list):
        rle = rle_library.merge(rle_library.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = rle_library.frPyObjects(segmentation, height, width)
    else:
        rle = segmentation
    return np.asarray(rle_library.decode(rle), np.uint8)
