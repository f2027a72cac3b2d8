"""What an evaluation yields, for every task alike, and its form on disk."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from transferflow.errors import EvaluationError
from transferflow.evaluation.curves import Curves

Value = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A number; JSON has no `nan`, and holds `null` instead."""


@dataclass(frozen=True)
class MetricValue:
    """A metric with its 95 % bootstrap interval; `low` and `high` are `None` without one.

    Attributes:
        value: The metric; `nan` where it can't be computed.
        low: Lower end of the interval.
        high: Upper end of the interval.
        reason: Why the value is `nan`, or which classes a mean leaves out; empty otherwise.
    """

    value: Value
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Slice:
    """Metrics of one model on a part of the images.

    Attributes:
        name: Value of the column, or the like, that its images share.
        images: Number of images.
        metrics: By name.
        judged: Whether it has images enough to be named as the worst, and to be decided on.
    """

    name: str
    images: int
    metrics: Mapping[str, MetricValue]
    judged: bool


@dataclass(frozen=True)
class PredictionSets:
    """Sets of classes that should hold the right one.

    Attributes:
        confidence: How often they should, 0..1.
        coverage: How often they do.
        size: Mean number of classes in a set.
        single: Share of the images whose set is one class, 0..1.
    """

    confidence: float
    coverage: MetricValue
    size: MetricValue
    single: float


@dataclass(frozen=True)
class Threshold:
    """From which probability on a class is said, and what comes of it on the test images.

    Attributes:
        name: Of the class.
        threshold: 0..1.
        sensitivity: Share of the class's images that are found.
        specificity: Share of the other images that are left alone.
    """

    name: str
    threshold: float
    sensitivity: MetricValue
    specificity: MetricValue


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one model on one split.

    Attributes:
        metrics: By name.
        per_class: Class name to metric name to value (`nan` where the class can't be measured).
        images: Number of images measured.
        drawn: What the intervals draw, in words that follow "intervals over its".
        curves: What the figures draw.
        slices: The same metrics on parts of the images, by what they are sliced by.
        thresholds: Of the classes, where the validation images have chosen some.
        sets: What prediction sets are worth, where there are some.
        baselines: The same metrics of simple models on the same images, by their names.
    """

    metrics: Mapping[str, MetricValue]
    per_class: Mapping[str, Mapping[str, Value]]
    images: int
    drawn: str = "images"
    curves: Curves = field(default_factory=Curves)
    slices: Mapping[str, tuple[Slice, ...]] = field(default_factory=dict)
    thresholds: tuple[Threshold, ...] = ()
    sets: PredictionSets | None = None
    baselines: Mapping[str, Mapping[str, MetricValue]] = field(default_factory=dict)


def require_images(images: int) -> None:
    """Refuse to measure nothing.

    Raises:
        EvaluationError: If there is no image.
    """
    if images == 0:
        raise EvaluationError("There is no image to evaluate.", hint="Give the split a share of the data.")


def require_known(metrics: Iterable[str], known: Collection[str], kind: str) -> None:
    """Refuse a metric that can't be computed.

    Args:
        metrics: What is asked for.
        known: What there is.
        kind: Of which task, in words.

    Raises:
        EvaluationError: If one is unknown.
    """
    unknown = [name for name in metrics if name not in known]
    if unknown:
        raise EvaluationError(
            f"There is no such {kind} metric.", found=", ".join(unknown), allowed=", ".join(known)
        )


_FORM = TypeAdapter(Evaluation)


def evaluation_to_json(evaluation: Evaluation) -> str:
    """Write an evaluation as strict JSON; `nan` becomes `null`."""
    return _FORM.dump_json(evaluation, indent=1).decode("utf-8")


def load_evaluation(text: str) -> Evaluation:
    """Read what `evaluation_to_json` wrote.

    Raises:
        EvaluationError: The text is not such a document.
    """
    try:
        return _FORM.validate_json(text)
    except ValidationError as error:
        raise EvaluationError(
            "The stored evaluation can't be read.",
            found=str(error.errors()[0]["msg"]),
            hint="Run the evaluation again.",
        ) from error
