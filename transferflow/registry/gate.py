"""The promotion gate: what it asks for, what goes into it, and the verdict. `deciding` is how it decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from transferflow.evaluation.results import MetricValue, Slice


class VerdictKind(StrEnum):
    """What becomes of a challenger."""

    PROMOTE = "PROMOTE"
    HOLD = "HOLD"
    REJECT = "REJECT"


@dataclass(frozen=True)
class Verdict:
    """A decision and why it was taken, one sentence per reason.

    Attributes:
        kind: The decision.
        reasons: Why.
        sets_reference: Whether a promoted challenger is the one that later ones are held against.
    """

    kind: VerdictKind
    reasons: tuple[str, ...]
    sets_reference: bool = True


@dataclass(frozen=True)
class GateRule:
    """What a challenger must meet in one metric.

    Attributes:
        metric: Name of the metric.
        lower_is_better: Whether small values are good, as for `ece`.
        minimum: Worst value that may be promoted (the largest where lower is better).
        margin: Least improvement on the champion; below 0 it is the loss that is still accepted;
            `None` asks for no comparison.
        confidence: Confidence of the comparison's interval, in 0.5..1.
        is_share: Whether the metric is from 0 to 1, and not in the unit of the data.
    """

    metric: str
    lower_is_better: bool = False
    minimum: float | None = None
    margin: float | None = 0.0
    confidence: float = 0.95
    is_share: bool = True


@dataclass(frozen=True)
class SliceRule:
    """What every slice of the test images must meet.

    Attributes:
        metric: Name of the metric.
        worst: Worst value that a slice may have (the largest where lower is better).
        by: What the images are sliced by; `None`: every way that was measured.
        lower_is_better: Whether small values are good.
    """

    metric: str
    worst: float
    by: str | None = None
    lower_is_better: bool = False


@dataclass(frozen=True)
class Limits:
    """What a challenger must keep to, whatever the champion does; `None` asks for nothing.

    Attributes:
        class_floors: Least value for every class, by the name of the per-class metric.
        max_ece: Largest expected calibration error, 0..1.
        max_size_mb: Largest size of the weights in MB (10^6 bytes).
        max_latency_ms: Longest time for one image in milliseconds.
        slices: What every slice of the test images must meet.
    """

    class_floors: Mapping[str, float] = field(default_factory=dict)
    max_ece: float | None = None
    max_size_mb: float | None = None
    max_latency_ms: float | None = None
    slices: SliceRule | None = None


@dataclass(frozen=True)
class Part:
    """What one rule says of a challenger.

    Attributes:
        kind: The verdict as far as this rule goes.
        reasons: Why, one sentence each.
        is_better: Whether nothing in it speaks against holding later challengers against this one.
    """

    kind: VerdictKind
    reasons: tuple[str, ...]
    is_better: bool = True


@dataclass(frozen=True)
class Measured:
    """What was measured of the challenger.

    Attributes:
        metrics: On the test images, by name.
        per_class: Class name to metric name to value; `nan` where the class can't be measured.
        size_mb: Size of the weights in MB.
        latency_ms: Median time for one image; `None` where it was not asked for.
        slices: Parts of the test images, by what they are sliced by.
        majority: The same metrics of one answer for every image; empty where none was measured.
    """

    metrics: Mapping[str, MetricValue]
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    size_mb: float = 0.0
    latency_ms: float | None = None
    slices: Mapping[str, Sequence[Slice]] = field(default_factory=dict)
    majority: Mapping[str, MetricValue] = field(default_factory=dict)


@dataclass(frozen=True)
class ChampionComparison:
    """Challenger minus champion, paired on the same test images.

    Attributes:
        champion: How the champion is called, such as `version 3`.
        champion_value: Its metric on these images.
        difference: Challenger's metric minus champion's.
        low: Lower end of the difference's interval at the rule's confidence.
        high: Upper end.
        images: Test images that were compared on; 0 where that is not known.
        p_value: Of a test of its own beside the interval, two-sided; `None` where there is none.
        test: What that test is called.
        test_interval: Interval of the difference that it gives at the rule's confidence; `None` where it
            knows no margin but 0.
        bootstrap_p_value: Of the resamples that the interval comes from, two-sided.
    """

    champion: str
    champion_value: float
    difference: float
    low: float
    high: float
    images: int = 0
    p_value: float | None = None
    test: str = ""
    test_interval: tuple[float, float] | None = None
    bootstrap_p_value: float = 1.0


@dataclass(frozen=True)
class NotComparable:
    """There is a champion, but it can't be measured on these test images."""

    champion: str
    reason: str


Compared = ChampionComparison | NotComparable


@dataclass(frozen=True)
class Opponents:
    """What a challenger was compared with in one metric.

    Attributes:
        champion: The champion; `None` when there is none, or nothing asks for a comparison.
        reference: The reference, where that is another version than the champion.
    """

    champion: Compared | None = None
    reference: Compared | None = None
