"""Which predicted box meets which true box: COCO's greedy matching, once per image and class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transferflow.data.records import Box
from transferflow.errors import EvaluationError
from transferflow.evaluation.statistics.bootstrap import FloatArray

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
LARGEST_AREA = 1e10
AREAS: dict[str, tuple[float, float]] = {
    "all": (0.0, LARGEST_AREA),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, LARGEST_AREA),
}
"""COCO's size buckets, in square pixels of the original image."""
MAX_DETECTIONS = 100
"""Boxes per image and class that are counted, by score."""

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ImageTruth:
    """True boxes of one image; an image without boxes belongs here too."""

    id: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class ClassMatches:
    """All predicted boxes of one class and one size bucket, by falling score.

    Attributes:
        scores: Score of each box (D).
        images: Index of its image (D).
        matched: Whether it meets a true box, per IoU threshold (T x D).
        ignored: Whether it counts neither as right nor as wrong (T x D): it meets a crowd or a true box of
            another size, or meets nothing and is of another size.
        objects: True boxes that count, per image (I).
    """

    scores: FloatArray
    images: npt.NDArray[np.intp]
    matched: BoolArray
    ignored: BoolArray
    objects: FloatArray


@dataclass(frozen=True)
class _ImageBoxes:
    """Boxes of one image and class; predicted ones by falling score."""

    image: int
    scores: FloatArray
    predicted_area: FloatArray
    true_area: FloatArray
    crowd: BoolArray
    iou: FloatArray  # predicted x true


def match_classes(
    predictions: pa.Table, truths: Sequence[ImageTruth], classes: Sequence[str], areas: Sequence[str]
) -> list[dict[str, ClassMatches]]:
    """Match predicted to true boxes.

    Args:
        predictions: A row per box: `id`, `label`, `score`, `x_min`, `y_min`, `x_max`, `y_max`.
        truths: Every image of the split.
        classes: Class names in order.
        areas: Size buckets, keys of `AREAS`.

    Returns:
        Per class, size bucket to matches.

    Raises:
        EvaluationError: A prediction is of an unknown image or class, or is not finite.
    """
    columns = _read_columns(predictions, truths, classes)
    return [
        {area: _match_area(boxes, AREAS[area], len(truths)) for area in areas}
        for boxes in (list(_images_of_class(columns, truths, name, c)) for c, name in enumerate(classes))
    ]


@dataclass(frozen=True)
class _Columns:
    images: npt.NDArray[np.intp]
    labels: npt.NDArray[np.intp]
    scores: FloatArray
    corners: FloatArray


def _read_columns(table: pa.Table, truths: Sequence[ImageTruth], classes: Sequence[str]) -> _Columns:
    image_index = {truth.id: i for i, truth in enumerate(truths)}
    class_index = {name: c for c, name in enumerate(classes)}
    ids, labels = table["id"].to_pylist(), table["label"].to_pylist()
    strange = {*ids} - image_index.keys() or {*labels} - class_index.keys()
    if strange:
        raise EvaluationError(
            "Predictions name images or classes that the truth has not.", found=", ".join(sorted(strange)[:5])
        )
    numbers = np.stack(
        [np.asarray(table[name], dtype=np.float64) for name in ("score", "x_min", "y_min", "x_max", "y_max")],
        axis=1,
    )
    if not np.isfinite(numbers).all():
        raise EvaluationError("Predicted boxes or scores are not finite.")
    return _Columns(
        np.array([image_index[i] for i in ids], dtype=np.intp),
        np.array([class_index[name] for name in labels], dtype=np.intp),
        numbers[:, 0],
        numbers[:, 1:],
    )


def _images_of_class(
    columns: _Columns, truths: Sequence[ImageTruth], name: str, label: int
) -> Iterator[_ImageBoxes]:
    from faster_coco_eval.core import mask as coco_mask  # loads OpenCV, which a plan can do without

    mine = np.flatnonzero(columns.labels == label)
    # By image, then by falling score; equal scores keep their order, as in COCO's own code.
    mine = mine[np.lexsort((-columns.scores[mine], columns.images[mine]))]
    starts = np.searchsorted(columns.images[mine], np.arange(len(truths) + 1))
    for image, truth in enumerate(truths):
        rows = mine[starts[image] : starts[image + 1]][:MAX_DETECTIONS]
        boxes = [box for box in truth.boxes if box.label == name]
        if not rows.size and not boxes:
            continue
        predicted = _xywh(columns.corners[rows])
        true = _xywh(
            np.array([(b.x_min, b.y_min, b.x_max, b.y_max) for b in boxes], dtype=np.float64).reshape(-1, 4)
        )
        crowd = np.array([box.crowd for box in boxes], dtype=bool)
        iou = (
            np.asarray(coco_mask.iou(predicted, true, crowd.astype(int).tolist()), dtype=np.float64)
            if rows.size and boxes
            else np.zeros((rows.size, len(boxes)))
        )
        yield _ImageBoxes(
            image,
            columns.scores[rows],
            predicted[:, 2] * predicted[:, 3],
            np.array([box.object_area for box in boxes], dtype=np.float64),
            crowd,
            iou,
        )


def _xywh(corners: FloatArray) -> FloatArray:
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def _match_area(boxes: Sequence[_ImageBoxes], area: tuple[float, float], images: int) -> ClassMatches:
    low, high = area
    objects = np.zeros(images)
    matched: list[BoolArray] = [np.zeros((len(IOU_THRESHOLDS), 0), dtype=bool)]
    ignored = list(matched)
    for item in boxes:
        unwanted = item.crowd | (item.true_area < low) | (item.true_area > high)
        objects[item.image] = (~unwanted).sum()
        hit, hit_unwanted = _match_image(item, unwanted)
        other_size = (item.predicted_area < low) | (item.predicted_area > high)
        matched.append(hit)
        ignored.append(hit_unwanted | (~hit & other_size))
    scores = np.concatenate([np.zeros(0), *(item.scores for item in boxes)])
    owner = np.concatenate([np.zeros(0, np.intp), *(np.full(i.scores.size, i.image, np.intp) for i in boxes)])
    order = np.argsort(-scores, kind="stable")
    return ClassMatches(
        scores[order],
        owner[order],
        np.concatenate(matched, axis=1)[:, order],
        np.concatenate(ignored, axis=1)[:, order],
        objects,
    )


def _match_image(item: _ImageBoxes, unwanted: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Per threshold and predicted box: whether it meets a true box, and whether that one is unwanted.

    Each predicted box, by falling score, takes the free true box that it overlaps most; unwanted ones only
    where no wanted one is left. A crowd is never used up. Of equal overlaps the last is taken.
    """
    thresholds = len(IOU_THRESHOLDS)
    hit = np.zeros((thresholds, item.scores.size), dtype=bool)
    hit_unwanted = np.zeros_like(hit)
    taken = np.zeros((thresholds, item.crowd.size), dtype=bool)
    limits = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)[:, None]
    rows = np.arange(thresholds)
    near = np.flatnonzero(item.iou.max(axis=1, initial=0.0) >= limits[0])
    for d in near:
        free = (item.iou[d] >= limits) & ~(taken & ~item.crowd)
        wanted = free & ~unwanted
        candidates = np.where(wanted.any(axis=1, keepdims=True), wanted, free)
        overlap = np.where(candidates, item.iou[d], -1.0)
        best = overlap.shape[1] - 1 - overlap[:, ::-1].argmax(axis=1)
        found = candidates.any(axis=1)
        hit[:, d] = found
        hit_unwanted[:, d] = found & unwanted[best]
        taken[rows[found], best[found]] = True
    return hit, hit_unwanted
