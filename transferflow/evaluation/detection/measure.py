"""Measure a detector as COCO does: precision and recall with intervals, per class and per size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from transferflow.evaluation.curve_sizes import CURVE_CLASSES, thin
from transferflow.evaluation.curves import Curves, PrecisionRecall, SizeBuckets, ThresholdSweep
from transferflow.evaluation.detection.matching import (
    AREAS,
    ClassMatches,
    ImageTruth,
    match_classes,
)
from transferflow.evaluation.detection.statistics import (
    build_detection_statistic,
    class_values,
    needed_areas,
    share,
    threshold_counts,
)
from transferflow.evaluation.left_out import say_left_out
from transferflow.evaluation.results import Evaluation, require_images
from transferflow.evaluation.statistics.bootstrap import Statistic, nan_mean
from transferflow.evaluation.statistics.clusters import decide_clusters
from transferflow.evaluation.statistics.intervals import metric_values, plain_values

IOU50 = 0
"""Index of IoU 0.5 among the thresholds: the one that the curves are drawn at."""
SWEEP_POINTS = 100
_MEANS = {"map": "ap", "map50": "ap50", "map75": "ap75", "average_recall": "average_recall"}


def evaluate_detection(
    predictions: pa.Table,
    truths: Sequence[ImageTruth],
    classes: Sequence[str],
    *,
    metrics: Sequence[str],
    bootstrap: int,
    seed: int,
    groups: Sequence[str | None] = (),
) -> Evaluation:
    """Measure predicted boxes against the truth.

    Boxes are matched once; each resample only counts anew. The values equal those of pycocotools on the
    same boxes (truth sorted into sizes by `area`, where it is known), at most 100 boxes per image and class.

    Args:
        predictions: A row per box: `id`, `label`, `score`, `x_min`, `y_min`, `x_max`, `y_max`, in pixels of
            the original image. May be empty.
        truths: Every image of the split, also those without boxes.
        classes: Class names in order.
        metrics: Names of metrics, as in `transferflow.spec.sections.metrics`.
        bootstrap: Resamples of the images for the 95 % intervals; 0 leaves them out.
        seed: Seed of the resamples.
        groups: Patient, scene or the like of each image, where there is one: see `decide_clusters`.

    Returns:
        The evaluation; for its curves see `detection_curves`.

    Raises:
        EvaluationError: No image, a prediction of an unknown image or class, numbers that are not finite,
            or an unknown metric.
    """
    require_images(len(truths))
    needed_areas(metrics)
    matches = match_classes(predictions, truths, classes, tuple(AREAS))
    statistic = build_detection_statistic(matches, metrics)
    clusters = decide_clusters(groups)
    evaluation = Evaluation(
        metrics=metric_values(
            statistic,
            metrics,
            len(truths),
            bootstrap,
            seed,
            clusters=clusters.of_image,
            undefined="The images hold no true box of this kind and size.",
        ),
        per_class={
            name: class_values(of_class["all"]) for name, of_class in zip(classes, matches, strict=True)
        },
        images=len(truths),
        drawn=clusters.drawn,
        curves=detection_curves(matches, classes),
    )
    return say_left_out(evaluation, _MEANS)


def measure_epoch(
    predictions: pa.Table, truths: Sequence[ImageTruth], classes: Sequence[str], metrics: Sequence[str]
) -> tuple[dict[str, float], ThresholdSweep]:
    """The metrics of `evaluate_detection` alone, and what a least score costs.

    Args:
        predictions: As in `evaluate_detection`.
        truths: Every image of the split.
        classes: Class names in order.
        metrics: Names of metrics.
    """
    areas = dict.fromkeys(("all", *needed_areas(metrics)))
    matches = match_classes(predictions, truths, classes, tuple(areas))
    values = plain_values(build_detection_statistic(matches, metrics), metrics, len(truths))
    return values, sweep_thresholds([of_class["all"] for of_class in matches])


def detection_statistic(
    predictions: pa.Table, truths: Sequence[ImageTruth], classes: Sequence[str], metric: str
) -> Statistic:
    """One metric as a function of image multiplicities (resamples x images -> resamples)."""
    matches = match_classes(predictions, truths, classes, needed_areas([metric]))
    statistic = build_detection_statistic(matches, [metric])
    return lambda weights: statistic(weights)[:, 0]


def detection_curves(matches: Sequence[Mapping[str, ClassMatches]], classes: Sequence[str]) -> Curves:
    """What the figures draw: precision and recall, sizes, and what a least score costs."""
    curves = [
        curve
        for name, of_class in zip(classes, matches, strict=True)
        if (curve := _precision_recall(name, of_class["all"])) is not None
    ]
    return Curves(
        precision_recall=sorted(curves, key=lambda curve: curve.average_precision)[:CURVE_CLASSES],
        sizes=_sizes(matches),
        thresholds=sweep_thresholds([of_class["all"] for of_class in matches]),
    )


def _precision_recall(name: str, matches: ClassMatches) -> PrecisionRecall | None:
    objects = float(matches.objects.sum())
    if not objects:
        return None
    scores, found, false = threshold_counts(matches, IOU50)
    average = class_values(matches)["ap50"]
    if not scores.size:
        return PrecisionRecall(name, [0.0], [0.0], average)
    precision, recall = share(found, false, objects)
    keep = thin(scores.size)
    return PrecisionRecall(
        name,
        [0.0, *(round(float(v), 5) for v in recall[keep])],
        [float(precision[0]), *(round(float(v), 5) for v in precision[keep])],
        average,
    )


def _sizes(matches: Sequence[Mapping[str, ClassMatches]]) -> SizeBuckets:
    buckets = [name for name in AREAS if name != "all"]
    rows = [[class_values(of_class[bucket]) for of_class in matches] for bucket in buckets]

    def mean(row: Sequence[Mapping[str, float]], key: str) -> float | None:
        value = float(nan_mean(np.array([values[key] for values in row])))
        return value if math.isfinite(value) else None

    return SizeBuckets(
        name=buckets,
        objects=[int(sum(values["objects"] for values in row)) for row in rows],
        average_precision=[mean(row, "ap") for row in rows],
        average_recall=[mean(row, "average_recall") for row in rows],
    )


def sweep_thresholds(matches: Sequence[ClassMatches]) -> ThresholdSweep:
    """Precision, recall and F1 of the boxes from each score on, at IoU 0.5 over all classes."""
    counted = [threshold_counts(m, IOU50) for m in matches]
    objects = float(sum(m.objects.sum() for m in matches))
    scores = np.linspace(0, 1, SWEEP_POINTS, endpoint=False)
    found, false = np.zeros(SWEEP_POINTS), np.zeros(SWEEP_POINTS)
    for of_class, right, wrong in counted:
        above = np.searchsorted(-of_class, -scores, side="right")
        found += np.concatenate([[0.0], right])[above]
        false += np.concatenate([[0.0], wrong])[above]
    precision, recall = share(found, false, objects)
    f1 = 2 * found / np.maximum(found + false + objects, 1.0)
    return ThresholdSweep(
        score=scores.round(4).tolist(),
        precision=[float(v) if math.isfinite(v) else None for v in precision],
        recall=[float(v) if math.isfinite(v) else None for v in recall],
        f1=f1.tolist(),
        best=float(scores[f1.argmax()]),
    )


@dataclass(frozen=True)
class ImageMistakes:
    """How a detector did on one image, at IoU 0.5 and a least score.

    Attributes:
        id: The image.
        found: True boxes that were found.
        missed: True boxes that were not.
        false: Predicted boxes that meet none.
    """

    id: str
    found: int
    missed: int
    false: int


def count_mistakes(
    predictions: pa.Table, truths: Sequence[ImageTruth], classes: Sequence[str], score: float
) -> list[ImageMistakes]:
    """Mistakes per image, in the order of `truths`; crowds are left out.

    Args:
        predictions: As in `evaluate_detection`.
        truths: Every image of the split.
        classes: Class names in order.
        score: Least score of a box that counts, 0..1.
    """
    found, false = np.zeros(len(truths), int), np.zeros(len(truths), int)
    objects = np.zeros(len(truths), int)
    for of_class in match_classes(predictions, truths, classes, ("all",)):
        matches = of_class["all"]
        counts = (matches.scores >= score) & ~matches.ignored[IOU50]
        right = matches.matched[IOU50]
        found += np.bincount(matches.images[counts & right], minlength=len(truths))
        false += np.bincount(matches.images[counts & ~right], minlength=len(truths))
        objects += matches.objects.astype(int)
    return [
        ImageMistakes(truth.id, int(found[i]), int(objects[i] - found[i]), int(false[i]))
        for i, truth in enumerate(truths)
    ]
