"""How the gate decides: from numbers to PROMOTE, HOLD or REJECT, with the reasons in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from transferflow.evaluation.results import MetricValue
from transferflow.registry.gate import (
    ChampionComparison,
    Compared,
    GateRule,
    Limits,
    Measured,
    NotComparable,
    Opponents,
    Part,
    Verdict,
    VerdictKind,
)
from transferflow.registry.limits import decide_limits
from transferflow.text import four_digits

SHOWN_COLUMNS = ("support", "objects", "pixels")
"""Columns of a table of classes that count what the test images show of each."""
_SHOWN = 10
_MOST_IMAGES = 1e12
"""More test images than anybody has: a margin next to nothing asks for numbers without end."""


def decide_verdict(
    rules: Sequence[GateRule],
    measured: Measured,
    opponents: Mapping[str, Opponents],
    limits: Limits | None = None,
    notes: Sequence[str] = (),
) -> Verdict:
    """Decide whether a challenger becomes the champion.

    REJECT: a bound is missed, or surely worse than the champion (or the reference) by more than the margin
    allows.
    HOLD: good enough, but not surely better than the champion by the margin, or not to be told: a mean that
    leaves out a class is no statement about all of them.
    PROMOTE: everything else. Every rule has to be met, so that many rules make no promotion by chance
    likelier (intersection-union: R. L. Berger, "Multiparameter hypothesis testing and acceptance sampling",
    Technometrics 24, 1982).

    Args:
        rules: The metrics, the one that decides first.
        measured: The challenger on the test images.
        opponents: What it was compared with, by metric.
        limits: What else it must keep to.
        notes: What there is to know about the comparison as a whole; they come last.
    """
    parts = [_decide_metric(rule, measured, opponents.get(rule.metric, Opponents())) for rule in rules]
    parts += decide_limits(limits or Limits(), measured)
    reasons = tuple(reason for part in parts for reason in part.reasons)
    notes = (*_unseen_classes(measured.per_class), *notes)
    return Verdict(_strictest(parts), (*reasons, *notes), sets_reference=parts[0].is_better)


def _strictest(parts: Sequence[Part]) -> VerdictKind:
    kinds = {part.kind for part in parts}
    return next(each for each in (VerdictKind.REJECT, VerdictKind.HOLD, VerdictKind.PROMOTE) if each in kinds)


def _decide_metric(rule: GateRule, measured: Measured, opponents: Opponents) -> Part:
    value = measured.metrics[rule.metric]
    met, reasons = _meets_minimum(rule, value.value)
    if value.reason and not math.isnan(value.value):
        reasons = (*reasons, f"{rule.metric}: {value.reason}")
    if not met:
        return Part(VerdictKind.REJECT, reasons)
    parts = [_against(rule, opponents.champion, "champion")]
    if opponents.champion is None and rule.minimum is None:
        parts.insert(0, _against_nothing(rule, value.value, measured.majority.get(rule.metric)))
    if value.reason:
        parts.append(Part(VerdictKind.HOLD, (), is_better=False))
    if opponents.reference is not None:
        parts.append(_against_reference(rule, opponents.reference))
    words = tuple(reason for part in parts for reason in part.reasons)
    return Part(_strictest(parts), (*reasons, *words), all(part.is_better for part in parts))


def _against_nothing(rule: GateRule, value: float, majority: MetricValue | None) -> Part:
    """What a first model is held against where no minimum is set: what an answer without an image is worth.

    The calibration error is left out: an answer that never differs is well calibrated.
    """
    shown = f"{rule.metric} {four_digits(value)}"
    if rule.is_share and not rule.lower_is_better and value == 0:
        worst = f"{shown} is the worst there is: train longer, and look at the data and the rates"
        return Part(VerdictKind.HOLD, (worst,), is_better=False)
    is_gap = rule.is_share and rule.lower_is_better
    if majority is None or is_gap or math.isnan(majority.value):
        return Part(VerdictKind.PROMOTE, ())
    gain = majority.value - value if rule.lower_is_better else value - majority.value
    if gain > 0:
        return Part(VerdictKind.PROMOTE, ())
    worth = f"the same answer for every image ({four_digits(majority.value)})"
    advice = "registration.gate.minimum (or maximum) would say what is enough"
    return Part(VerdictKind.PROMOTE, (f"WARNING: {shown} is no better than {worth}; {advice}",))


def _unseen_classes(per_class: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """What no metric can tell: the classes of which the test images show nothing."""
    unseen = [name for name, row in per_class.items() if any(row.get(key) == 0 for key in SHOWN_COLUMNS)]
    if not unseen:
        return ()
    shown = ", ".join(map(repr, unseen[:_SHOWN])) + (", …" if len(unseen) > _SHOWN else "")
    return (f"the test images show nothing of {shown}: no metric says how well that is told",)


def _meets_minimum(rule: GateRule, value: float) -> tuple[bool, tuple[str, ...]]:
    if math.isnan(value):
        return False, (f"{rule.metric} could not be measured on the test images",)
    if rule.minimum is None:
        return True, ()
    worst = "most" if rule.lower_is_better else "least"
    met = value <= rule.minimum if rule.lower_is_better else value >= rule.minimum
    verb = "meets" if met else "misses"
    return met, (f"{rule.metric} {four_digits(value)} {verb} the gate of at {worst} {rule.minimum:g}",)


def _against(rule: GateRule, compared: Compared | None, who: str) -> Part:
    if rule.margin is None:
        reason = "the gate asks for no comparison with the champion"
        return Part(VerdictKind.PROMOTE, (reason,), is_better=False)
    if compared is None:
        return Part(VerdictKind.PROMOTE, ("there is no champion yet",))
    if isinstance(compared, NotComparable):
        reason = f"not comparable with the {who} ({compared.champion}): {compared.reason}"
        return Part(VerdictKind.HOLD, (reason,), is_better=False)
    kind, words = _judge(rule.margin, rule, compared)
    low, _ = _gain_interval(rule, compared)
    return Part(kind, (f"{_measured(rule, compared, who)}: {words}",), is_better=low > 0)


def _against_reference(rule: GateRule, reference: Compared) -> Part:
    """Losses that each are within the margin must not add up; a gain over the champion needs no more."""
    part = _against(rule, reference, "reference")
    if rule.margin is None or rule.margin >= 0:
        return Part(VerdictKind.PROMOTE, (), part.is_better)
    return part


def _judge(margin: float, rule: GateRule, compared: ChampionComparison) -> tuple[VerdictKind, str]:
    low, high = _gain_interval(rule, compared)
    if math.isnan(low) or math.isnan(high):
        return VerdictKind.HOLD, "too few test images to tell"
    least = decide_least_images(rule)
    if low > margin and 0 < compared.images < least:
        few = f"too few test images to show that, even if they show no difference: {least:,} would do"
        return VerdictKind.HOLD, f"{few}, there are {compared.images:,}"
    if low > margin and _other_test_agrees(margin, rule, compared):
        return VerdictKind.PROMOTE, _passed(margin)
    if high < min(margin, 0.0):
        return VerdictKind.REJECT, "surely worse"
    return VerdictKind.HOLD, f"{_not_passed(margin)}{_say_needed(margin, rule, compared)}"


def decide_least_images(rule: GateRule) -> int:
    """Test images below which no interval shows that a loss is within the margin.

    On n images without any difference, a difference on up to ln(1 / error) / n of all images is still likely
    ("rule of three": B. D. Jovanovic and P. S. Levy, The American Statistician 51, 1997), which resampling
    can't see: its interval has no width.

    Args:
        rule: The metric, its margin and confidence.

    Returns:
        A number of images; 0 where no loss is accepted, or the metric is in the unit of the data.
    """
    if rule.margin is None or rule.margin >= 0 or not rule.is_share:
        return 0
    return math.ceil(min(math.log(2 / (1 - rule.confidence)) / -rule.margin, _MOST_IMAGES))


def _other_test_agrees(margin: float, rule: GateRule, compared: ChampionComparison) -> bool:
    """Whether the test beside the interval, where there is one, agrees; McNemar's knows no margin but 0."""
    if compared.test_interval is not None:
        low, high = compared.test_interval
        return (-high if rule.lower_is_better else low) > margin
    return margin != 0 or compared.p_value is None or compared.p_value <= 1 - rule.confidence


def _gain_interval(rule: GateRule, compared: ChampionComparison) -> tuple[float, float]:
    """Interval of the gain: above 0 is better, whichever way the metric goes."""
    if rule.lower_is_better:
        return -compared.high, -compared.low
    return compared.low, compared.high


def _measured(rule: GateRule, compared: ChampionComparison, who: str) -> str:
    exact = "" if compared.p_value is None else f", {compared.test} p = {compared.p_value:.2g}"
    return (
        f"{rule.metric} against the {who} ({compared.champion}, {four_digits(compared.champion_value)}): "
        f"{compared.difference:+.4f}, {100 * rule.confidence:.5g}% interval "
        f"{compared.low:+.4f} to {compared.high:+.4f}{exact}"
    )


def _passed(margin: float) -> str:
    return f"surely not worse by {-margin:g}" if margin < 0 else f"surely better{_by(margin)}"


def _not_passed(margin: float) -> str:
    return f"may be worse by {-margin:g}" if margin < 0 else f"not surely better{_by(margin)}"


def _by(margin: float) -> str:
    return f" by {margin:g}" if margin else ""


def _say_needed(margin: float, rule: GateRule, compared: ChampionComparison) -> str:
    low, high = _gain_interval(rule, compared)
    gain = -compared.difference if rule.lower_is_better else compared.difference
    needed = decide_needed(compared.images, low, high, margin, gain)
    if needed is None or needed <= compared.images:
        return ""
    there = f"about {needed:,} test images, not {compared.images:,}"
    if margin < 0:
        return f"; to show that a model is as good takes {there}"
    return f"; to show such a gain takes {there}"


def decide_needed(images: int, low: float, high: float, margin: float, gain: float) -> int | None:
    """Test images that would make the interval narrow enough to tell.

    The half width of an interval falls with the root of the number of images.

    Args:
        images: Number of images that the interval comes from.
        low: Lower end of the gain's interval.
        high: Upper end.
        margin: Least gain; below 0 the loss that is accepted.
        gain: The gain that was measured.

    Returns:
        A number of images: of a margin below 0 for a model that is as good as the champion, else for one that
        gains what was measured. `None` where no number of images would do.
    """
    distance = -margin if margin < 0 else gain - margin
    if images == 0 or distance <= 0:
        return None
    return math.ceil(images * ((high - low) / 2 / distance) ** 2)


def decide_confidence(family_error: float, horizon: int) -> float:
    """Confidence of each of many comparisons, so that they all together err no more often than asked.

    The error is spent in equal parts (Bonferroni). An interval errs on one side with half of what it leaves
    out, so that at 95 % one equal model in forty is promoted by chance.

    Args:
        family_error: Probability, 0..1, that any of the comparisons promotes a model that is no better.
        horizon: Number of comparisons.
    """
    return 1 - 2 * family_error / horizon
