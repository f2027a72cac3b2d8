"""What the figures of a report draw: plain lists, so that they can be stored as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Confusion:
    """Images per true class (row) and predicted class (column)."""

    classes: list[str]
    counts: list[list[int]]


@dataclass(frozen=True)
class ConfusedPair:
    """How many images of one class were taken for another."""

    truth: str
    predicted: str
    images: int


@dataclass(frozen=True)
class Reliability:
    """One entry per bin of confidence."""

    low: list[float]
    high: list[float]
    count: list[int]
    confidence: list[float | None]
    accuracy: list[float | None]


@dataclass(frozen=True)
class RocCurve:
    """ROC curve of one class against the rest."""

    name: str
    fpr: list[float]
    tpr: list[float]
    auroc: float


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision-recall curve of one class."""

    name: str
    recall: list[float]
    precision: list[float]
    average_precision: float


@dataclass(frozen=True)
class OperatingPoint:
    """Threshold that gives a fixed specificity."""

    name: str
    threshold: float | None
    specificity: float
    sensitivity: float
    low: float
    high: float


@dataclass(frozen=True)
class DeLong:
    """AUROC of a binary classifier with its DeLong interval."""

    name: str
    auroc: float
    low: float
    high: float


@dataclass(frozen=True)
class SizeBuckets:
    """Detection by size of the object, one entry per bucket."""

    name: list[str]
    objects: list[int]
    average_precision: list[float | None]
    average_recall: list[float | None]


@dataclass(frozen=True)
class ThresholdSweep:
    """Precision, recall and F1 for each least score."""

    score: list[float]
    precision: list[float | None]
    recall: list[float | None]
    f1: list[float]
    best: float


@dataclass(frozen=True)
class Histogram:
    """Counts per bin."""

    low: list[float]
    high: list[float]
    count: list[int]


@dataclass(frozen=True)
class Scatter:
    """True and predicted number of each image, by truth."""

    name: str
    truth: list[float]
    predicted: list[float]


@dataclass(frozen=True)
class Curves:
    """The curves of one evaluation; those that its task has not are `None`.

    Attributes:
        confusion: Of images, or of pixels; left out where there are very many classes.
        confused: The most confused pairs, most frequent first.
        reliability: Bins of confidence.
        roc: Of the classes that rank worst.
        precision_recall: Of the same; of boxes at IoU 0.5.
        operating_points: Of the same.
        delong: With two exclusive classes.
        sizes: Boxes by the size of the object.
        thresholds: What a least score of boxes costs, at IoU 0.5 over all classes.
        image_iou: How many images have which mean IoU.
        scatter: Predicted numbers beside the true ones.
    """

    confusion: Confusion | None = None
    confused: list[ConfusedPair] | None = None
    reliability: Reliability | None = None
    roc: list[RocCurve] | None = None
    precision_recall: list[PrecisionRecall] | None = None
    operating_points: list[OperatingPoint] | None = None
    delong: DeLong | None = None
    sizes: SizeBuckets | None = None
    thresholds: ThresholdSweep | None = None
    image_iou: Histogram | None = None
    scatter: Scatter | None = None
