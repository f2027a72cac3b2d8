"""Typed reading of an evaluation's curves, which are plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from transferflow.errors import EvaluationError

T = TypeVar("T")


class Curve(BaseModel):
    """Base of all curves."""

    model_config = ConfigDict(frozen=True)


class Confusion(Curve):
    """Images per true class (row) and predicted class (column)."""

    classes: list[str]
    counts: list[list[int]]


class ConfusedPair(Curve):
    """How many images of one class were taken for another."""

    truth: str
    predicted: str
    images: int


class Reliability(Curve):
    """One entry per bin of confidence."""

    low: list[float]
    high: list[float]
    count: list[int]
    confidence: list[float | None]
    accuracy: list[float | None]


class RocCurve(Curve):
    """ROC curve of one class against the rest."""

    name: str
    fpr: list[float]
    tpr: list[float]
    auroc: float


class PrecisionRecall(Curve):
    """Precision-recall curve of one class."""

    name: str
    recall: list[float]
    precision: list[float]
    average_precision: float


class OperatingPoint(Curve):
    """Threshold that gives a fixed specificity."""

    name: str
    threshold: float | None
    specificity: float
    sensitivity: float
    low: float
    high: float


class DeLong(Curve):
    """AUROC of a binary classifier with its DeLong interval."""

    name: str
    auroc: float
    low: float
    high: float


class SizeBuckets(Curve):
    """Detection by size of the object, one entry per bucket."""

    name: list[str]
    objects: list[int]
    average_precision: list[float | None]
    average_recall: list[float | None]


class ThresholdSweep(Curve):
    """Precision, recall and F1 for each least score."""

    score: list[float]
    precision: list[float | None]
    recall: list[float | None]
    f1: list[float]
    best: float


class Histogram(Curve):
    """Counts per bin."""

    low: list[float]
    high: list[float]
    count: list[int]


class Scatter(Curve):
    """True and predicted number of each image, by truth."""

    name: str
    truth: list[float]
    predicted: list[float]


CONFUSION = TypeAdapter(Confusion)
CONFUSED = TypeAdapter(list[ConfusedPair])
RELIABILITY = TypeAdapter(Reliability)
ROC = TypeAdapter(list[RocCurve])
PRECISION_RECALL = TypeAdapter(list[PrecisionRecall])
OPERATING_POINTS = TypeAdapter(list[OperatingPoint])
DELONG = TypeAdapter(DeLong)
SIZES = TypeAdapter(SizeBuckets)
THRESHOLDS = TypeAdapter(ThresholdSweep)
IMAGE_IOU = TypeAdapter(Histogram)
SCATTER = TypeAdapter(Scatter)


def read_curve(curves: Mapping[str, object], name: str, adapter: TypeAdapter[T]) -> T | None:
    """One curve, checked against the form that its figure needs; `None` when it is not there.

    Raises:
        EvaluationError: It is there, in another form.
    """
    if name not in curves:
        return None
    try:
        return adapter.validate_python(curves[name])
    except ValidationError as error:
        raise EvaluationError(
            f"The evaluation's curve {name} can't be drawn.",
            found=str(error.errors()[0]["msg"]),
            hint="Run the evaluation again.",
        ) from error
