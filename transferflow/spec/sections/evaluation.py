"""The `evaluation`, `registration` and `deployment` sections: measure, promote, run again."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, StrictStr, model_validator

from transferflow.limits import MAX_NAMES, MAX_SLICINGS
from transferflow.spec.sections.base import (
    Count,
    Flag,
    Fraction,
    Natural,
    NonNegative,
    Number,
    Positive,
    Section,
    Text,
    without_repeats,
)
from transferflow.spec.sections.run_times import Poll, RunTimes, TimeZone
from transferflow.spec.sections.slices import SliceBound, Slices
from transferflow.spec.wording import Words

MAX_MODEL_NAME = 64
ModelName = Annotated[
    StrictStr,
    Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=MAX_MODEL_NAME),
    Words(f"lower-case letters, digits, `.`, `_` and `-`, at most {MAX_MODEL_NAME}"),
]


BaselineName = Literal["majority", "knn", "linear_probe", "from_scratch", "champion"]
DEFAULT_CONFIDENCE = 0.95


def _each_once(slices: tuple[Slices, ...]) -> tuple[Slices, ...]:
    without_repeats(tuple(one.by for one in slices))
    return slices


class Thresholds(Section):
    """From which probability on a class is said, chosen on the validation images."""

    choose: Literal["f1", "sensitivity", "specificity"]
    """Largest F1; or the highest threshold that finds `at_least` so many of a class's images, or the lowest
    that leaves alone so many of the others."""
    at_least: Annotated[Fraction, Field(gt=0, lt=1)] | None = None
    """The share that is asked for; not with `f1`."""

    @model_validator(mode="after")
    def _shares_go_with_their_aim(self) -> Self:
        if (self.choose == "f1") != (self.at_least is None):
            raise ValueError("`at_least` goes with `choose: sensitivity` and `choose: specificity`")
        return self


class Evaluation(Section):
    """What is measured on the test images."""

    metrics: Annotated[tuple[Text, ...], Field(min_length=1), AfterValidator(without_repeats)] | None = None
    """Metrics to report; left out: all that the task has."""
    bootstrap: Annotated[StrictInt, Field(ge=0, le=100_000)] = 1000
    """Resamples of the test images for each 95 % interval; 0 switches intervals off."""
    specificity: Annotated[Fraction, Field(gt=0, lt=1)] = 0.9
    """Fixed specificity at which sensitivity is reported (classification; of two classes, the second's)."""
    calibrate: Flag = False
    """Fit one temperature on the validation images, so that probabilities come true as often as they say."""
    thresholds: Thresholds | None = None
    """Thresholds in place of 0.5 (several labels) or the likelier class (two classes); kept in the bundle."""
    conformal: Annotated[Fraction, Field(ge=0.5, lt=1)] | None = None
    """How often the set of plausible classes that comes with each answer should hold the right one."""
    mask_size: Literal["original", "resized"] = "original"
    """Segmentation: masks are compared in the size of their files, or in that to which `data.fit` brings the
    image (true masks by nearest neighbour), as torchvision's reference code does."""
    baselines: Annotated[tuple[BaselineName, ...], AfterValidator(without_repeats)] | None = None
    """Simple models beside this one in the report: the training images' own shares or mean, the nearest
    training images and a linear layer on the pretrained features, the same recipe from random weights, the
    champion; left out: those that are cheap."""
    slices: Annotated[tuple[Slices, ...], Field(max_length=MAX_SLICINGS), AfterValidator(_each_once)] = ()
    """Parts of the test images that are measured by themselves, as in `[{by: site}]`."""


class AgainstChampion(Section):
    """The challenger must beat the champion on the same test images, or be no worse."""

    margin: Number = 0.0
    """Least improvement of the metric; with `mode: non_inferior` the loss that is still accepted."""
    confidence: Annotated[Fraction, Field(gt=0.5, lt=1)] = DEFAULT_CONFIDENCE
    """Confidence of the paired comparison."""
    mode: Literal["superior", "non_inferior"] = "superior"
    """Surely better by the margin, or surely not worse by it; then losses must not add up, either."""
    family_error: Annotated[Fraction, Field(gt=0, lt=0.5)] | None = None
    """Probability that any of `horizon` comparisons promotes a model that is no better; sets `confidence`."""
    horizon: Annotated[Count, Field(le=10_000)] | None = None
    """Comparisons that share the `family_error`, such as 52 for a year of weekly refreshes."""


class MetricBound(Section):
    """A further metric that a challenger must meet."""

    metric: Text
    """Its name."""
    minimum: Fraction | None = None
    """Worst value that may be promoted (for `ece`: largest)."""
    maximum: Positive | None = None
    """Largest error that may be promoted, for metrics in the unit of the data (`mae`, `rmse`)."""
    against_champion: AgainstChampion | None = None
    """Comparison with the champion in this metric, too."""


class Gate(Section):
    """What a challenger must meet to be promoted."""

    metric: Text | None = None
    """Metric that decides, and by which the best epoch is kept; left out: the task's main metric."""
    minimum: Fraction | None = None
    """Worst value that may be promoted (for `ece`: largest)."""
    maximum: Positive | None = None
    """Largest error that may be promoted, for metrics in the unit of the data (`mae`, `rmse`)."""
    against_champion: AgainstChampion | None = AgainstChampion()
    """Comparison with the champion; `null` promotes without one."""
    also: Annotated[tuple[MetricBound, ...], Field(max_length=MAX_NAMES)] = ()
    """Further metrics; all of them have to be met."""
    per_class_floor: Annotated[dict[Text, Fraction], Field(max_length=MAX_NAMES)] = {}
    """Least value for every class, by the per-class metric's name, as in `{recall: 0.7}`."""
    slices: SliceBound | None = None
    """Least value for every slice, as in `{by: site, minimum: 0.8}`."""
    max_ece: Fraction | None = None
    """Largest expected calibration error that may be promoted."""
    max_size_mb: Positive | None = None
    """Largest size of the weights in MB (10^6 bytes)."""
    max_latency_ms: Positive | None = None
    """Longest time for one image in milliseconds: median of 50 on the machine that registers."""


class Registration(Section):
    """How the model is registered."""

    model: ModelName | None = None
    """Name of the registered model; left out: the spec's name."""
    gate: Gate = Gate()
    """What it takes to become champion."""


class Drift(Section):
    """Whether new images look to the champion like those that its training was measured on."""

    p_value: Annotated[Fraction, Field(ge=0.001, le=0.5)] = 0.01
    """Train when chance alone would make the new images so different at most this often."""
    images: Annotated[Count, Field(ge=20, le=2000)] = 500
    """Images that are looked at, at most: so many new ones, and so many of the last training's."""


class Refresh(Section):
    """Train again when the data set has changed: what counts is what no training of the spec has seen yet."""

    poll: Poll
    """When to look for changes: cron fields, or an interval such as `30m`."""
    timezone: TimeZone = "UTC"
    """IANA name of the poll's time zone."""
    min_changed: Count = 1
    """Train when this many images were added, removed, relabelled or edited."""
    min_new_per_class: Count | None = None
    """Also train when one class alone has this many new images (detection: new images that show it)."""
    max_age_days: Positive | None = None
    """Also train on any change when the last training is this many days old."""
    on_relabel: Flag = False
    """Also train when the label of a single image changed."""
    drift: Drift | None = None
    """Also train when the new images differ from those before (MMD over the champion's features)."""
    max_removed: Fraction = 0.2
    """When a larger share of the images is gone at once, stop and let a person look."""
    settle_minutes: NonNegative = 5.0
    """Wait while a file or a folder of the data set is younger than this: it may be half copied."""


class Deployment(Section):
    """How the spec runs on workers."""

    work_pool: Text = "gpu"
    """Prefect work pool."""
    gpus: Annotated[Natural, Field(le=1024)] | None = None
    """GPUs that one run takes and trains on, 0 for the CPU; left out: `training.devices`."""
    schedule: RunTimes | None = None
    """When it runs by itself; left out: by hand, or when its refresh says so."""
    refresh: Refresh | None = None
    """Retraining on new data."""
    retries: Natural = 3
    """How often a run whose worker died is sent on from its checkpoint."""
