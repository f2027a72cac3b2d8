"""Measure predicted masks: overlap, pixels and outlines, with intervals over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transferflow.evaluation.curve_sizes import CONFUSION_CLASSES
from transferflow.evaluation.curves import Confusion, Curves, Histogram
from transferflow.evaluation.left_out import say_left_out
from transferflow.evaluation.results import Evaluation, require_images, require_known
from transferflow.evaluation.segmentation.counts import MaskCounts
from transferflow.evaluation.statistics.bootstrap import FloatArray, Statistic, nan_mean, ratio
from transferflow.evaluation.statistics.clusters import decide_clusters
from transferflow.evaluation.statistics.intervals import metric_values
from transferflow.spec.sections.metrics import SEGMENTATION

HISTOGRAM_BINS = 20
_MEANS = {"miou": "iou", "dice": "dice", "boundary_f1": "boundary_f1"}


def evaluate_segmentation(
    counts: Sequence[MaskCounts],
    classes: Sequence[str],
    *,
    metrics: Sequence[str],
    bootstrap: int,
    seed: int,
    groups: Sequence[str | None] = (),
) -> Evaluation:
    """Measure predicted masks by the counts of `count_mask`, one per image.

    Pixels are pooled over the images before any quotient is taken, and again in each resample.

    - miou, dice: mean over the classes that are there or predicted.
    - pixel_accuracy: share of right pixels.
    - boundary_f1: mean over classes of the F1 of outlines.

    Args:
        counts: One per image.
        classes: Class names in order.
        metrics: Names of metrics, as in `transferflow.spec.sections.metrics`.
        bootstrap: Resamples of the images for the 95 % intervals; 0 leaves them out.
        seed: Seed of the resamples.
        groups: Patient, scene or the like of each image, where there is one: see `decide_clusters`.

    Returns:
        The evaluation; its confusion counts pixels.

    Raises:
        EvaluationError: No image, or an unknown metric.
    """
    statistic = build_segmentation_statistic(counts, metrics)
    pixels = np.sum([image.confusion for image in counts], axis=0)
    few = len(classes) <= CONFUSION_CLASSES
    clusters = decide_clusters(groups)
    evaluation = Evaluation(
        metrics=metric_values(
            statistic,
            metrics,
            len(counts),
            bootstrap,
            seed,
            clusters=clusters.of_image,
            undefined="The images hold no pixel, or no outline, of any class.",
        ),
        per_class=_class_table(counts, classes),
        images=len(counts),
        drawn=clusters.drawn,
        curves=Curves(
            confusion=Confusion(list(classes), pixels.tolist()) if few else None,
            image_iou=_histogram(image_iou(counts)),
        ),
    )
    return say_left_out(evaluation, _MEANS)


def segmentation_statistic(counts: Sequence[MaskCounts], metric: str) -> Statistic:
    """One metric as a function of image multiplicities (resamples x images -> resamples)."""
    statistic = build_segmentation_statistic(counts, [metric])
    return lambda weights: statistic(weights)[:, 0]


def build_segmentation_statistic(counts: Sequence[MaskCounts], metrics: Sequence[str]) -> Statistic:
    """One function that computes all named metrics (resamples x images -> resamples x metrics).

    Raises:
        EvaluationError: No image, or an unknown metric.
    """
    require_images(len(counts))
    require_known(metrics, SEGMENTATION.names, "segmentation")
    sums = _stack(counts)

    def statistic(weights: FloatArray) -> FloatArray:
        pooled = sums.pooled(weights)
        values = {
            "miou": nan_mean(pooled.iou),
            "dice": nan_mean(pooled.dice),
            "pixel_accuracy": ratio(pooled.hits.sum(axis=1), pooled.truth.sum(axis=1)),
            "boundary_f1": nan_mean(pooled.boundary_f1),
        }
        return np.stack([values[name] for name in metrics], axis=1)

    return statistic


@dataclass(frozen=True)
class PixelSums:
    """Pixels per row (image or resample) and class; `boundary` is rows x classes x 4 (`MaskCounts`)."""

    hits: FloatArray
    truth: FloatArray
    predicted: FloatArray
    boundary: FloatArray

    def pooled(self, weights: FloatArray) -> PixelSums:
        """Sums over images, each as often as it is drawn."""
        return PixelSums(
            weights @ self.hits,
            weights @ self.truth,
            weights @ self.predicted,
            np.tensordot(weights, self.boundary, axes=1),
        )

    @property
    def iou(self) -> FloatArray:
        """Intersection over union; `nan` for a class that is neither there nor predicted."""
        return ratio(self.hits, self.truth + self.predicted - self.hits)

    @property
    def dice(self) -> FloatArray:
        """Dice coefficient; `nan` for a class that is neither there nor predicted."""
        return ratio(2 * self.hits, self.truth + self.predicted)

    @property
    def boundary_f1(self) -> FloatArray:
        """F1 of outlines; 0 where only one of both masks has an outline, `nan` where none has."""
        outline, near, found, right = np.moveaxis(self.boundary, -1, 0)
        recall, precision = near / np.maximum(outline, 1.0), right / np.maximum(found, 1.0)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        return np.where(outline + found > 0, f1, np.nan)


def _stack(counts: Sequence[MaskCounts]) -> PixelSums:
    confusion = [image.confusion for image in counts]
    return PixelSums(
        np.array([np.diagonal(matrix) for matrix in confusion], dtype=np.float64),
        np.array([matrix.sum(axis=1) for matrix in confusion], dtype=np.float64),
        np.array([matrix.sum(axis=0) for matrix in confusion], dtype=np.float64),
        np.array([image.boundary for image in counts], dtype=np.float64),
    )


def image_iou(counts: Sequence[MaskCounts]) -> FloatArray:
    """Mean IoU of each image over its own classes; `nan` where every pixel is ignored."""
    return nan_mean(_stack(counts).iou)


def _histogram(values: FloatArray) -> Histogram:
    count, edges = np.histogram(values[np.isfinite(values)], bins=HISTOGRAM_BINS, range=(0, 1))
    return Histogram(edges[:-1].tolist(), edges[1:].tolist(), count.tolist())


def _class_table(counts: Sequence[MaskCounts], classes: Sequence[str]) -> dict[str, dict[str, float]]:
    sums = _stack(counts)
    pooled = sums.pooled(np.ones((1, len(counts))))
    columns = {
        "iou": pooled.iou,
        "dice": pooled.dice,
        "precision": ratio(pooled.hits, pooled.predicted),
        "recall": ratio(pooled.hits, pooled.truth),
        "boundary_f1": pooled.boundary_f1,
    }
    table: dict[str, dict[str, float]] = {}
    for c, name in enumerate(classes):
        table[name] = {
            "images": float((sums.truth[:, c] > 0).sum()),
            "pixels": float(pooled.truth[0, c]),
            **{key: float(values[0, c]) for key, values in columns.items()},
        }
    return table
