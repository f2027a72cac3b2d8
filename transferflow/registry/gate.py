"""The promotion gate: from numbers to PROMOTE, HOLD or REJECT, with the reasons in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class VerdictKind(StrEnum):
    """What becomes of a challenger."""

    PROMOTE = "PROMOTE"
    HOLD = "HOLD"
    REJECT = "REJECT"


@dataclass(frozen=True)
class Verdict:
    """A decision and why it was taken, one sentence per reason."""

    kind: VerdictKind
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class GateRule:
    """What a challenger must meet.

    Attributes:
        metric: Name of the metric that decides.
        lower_is_better: Whether small values are good, as for `ece`.
        minimum: Worst value that may be promoted (the largest where lower is better).
        margin: Least improvement on the champion; below 0 it is the loss that is still accepted;
            `None` asks for no comparison.
        confidence: Confidence of the comparison's interval, in 0.5..1.
    """

    metric: str
    lower_is_better: bool = False
    minimum: float | None = None
    margin: float | None = 0.0
    confidence: float = 0.95


@dataclass(frozen=True)
class ChampionComparison:
    """Challenger minus champion, paired on the same test images.

    Attributes:
        champion: How the champion is called, such as `version 3`.
        champion_value: Its metric on these images.
        difference: Challenger's metric minus champion's.
        low: Lower end of the difference's interval at the rule's confidence.
        high: Upper end.
    """

    champion: str
    champion_value: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class NotComparable:
    """There is a champion, but it can't be measured on these test images."""

    champion: str
    reason: str


def decide_verdict(
    rule: GateRule, value: float, champion: ChampionComparison | NotComparable | None, note: str = ""
) -> Verdict:
    """Decide whether a challenger becomes the champion.

    REJECT: below the minimum, or surely worse than the champion by more than the margin allows.
    HOLD: good enough, but not surely better than the champion by the margin.
    PROMOTE: everything else.

    Args:
        rule: The gate.
        value: The challenger's metric on the test images.
        champion: The comparison with the champion; `None` when there is no champion yet.
        note: What there is to say about the value, such as classes that it leaves out.
    """
    met, reasons = _meets_minimum(rule, value)
    if note and not math.isnan(value):
        reasons = (*reasons, f"{rule.metric}: {note}")
    if not met:
        return Verdict(VerdictKind.REJECT, reasons)
    kind, reason = _against_champion(rule, champion)
    return Verdict(kind, (*reasons, reason))


def _meets_minimum(rule: GateRule, value: float) -> tuple[bool, tuple[str, ...]]:
    if math.isnan(value):
        return False, (f"{rule.metric} could not be measured on the test images",)
    if rule.minimum is None:
        return True, ()
    worst = "most" if rule.lower_is_better else "least"
    met = value <= rule.minimum if rule.lower_is_better else value >= rule.minimum
    verb = "meets" if met else "misses"
    return met, (f"{rule.metric} {value:.4f} {verb} the gate of at {worst} {rule.minimum:g}",)


def _against_champion(
    rule: GateRule, champion: ChampionComparison | NotComparable | None
) -> tuple[VerdictKind, str]:
    if rule.margin is None:
        return VerdictKind.PROMOTE, "the gate asks for no comparison with the champion"
    if champion is None:
        return VerdictKind.PROMOTE, "there is no champion yet"
    if isinstance(champion, NotComparable):
        return VerdictKind.HOLD, f"not comparable with the champion ({champion.champion}): {champion.reason}"
    sign = -1.0 if rule.lower_is_better else 1.0
    gain_low, gain_high = sorted((sign * champion.low, sign * champion.high))
    measured = (
        f"{rule.metric} against the champion ({champion.champion}, {champion.champion_value:.4f}): "
        f"{champion.difference:+.4f}, {rule.confidence:.0%} interval "
        f"{champion.low:+.4f} to {champion.high:+.4f}"
    )
    if math.isnan(gain_low) or math.isnan(gain_high):
        return VerdictKind.HOLD, f"{measured}: too few test images to tell"
    if gain_low > rule.margin:
        return VerdictKind.PROMOTE, f"{measured}: {_passed(rule.margin)}"
    if gain_high < min(rule.margin, 0.0):
        return VerdictKind.REJECT, f"{measured}: surely worse"
    return VerdictKind.HOLD, f"{measured}: {_not_passed(rule.margin)}"


def _passed(margin: float) -> str:
    return f"surely not worse by {-margin:g}" if margin < 0 else f"surely better{_by(margin)}"


def _not_passed(margin: float) -> str:
    return f"may be worse by {-margin:g}" if margin < 0 else f"not surely better{_by(margin)}"


def _by(margin: float) -> str:
    return f" by {margin:g}" if margin else ""
