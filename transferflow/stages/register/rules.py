"""The gate of a spec as the rules that decide, and how sure its comparisons have to be."""

from __future__ import annotations

from transferflow.registry.deciding import decide_confidence
from transferflow.registry.gate import GateRule, Limits, SliceRule
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import gate_metric
from transferflow.spec.sections.evaluation import AgainstChampion


def gate_rules(spec: ExperimentSpec) -> tuple[GateRule, ...]:
    """The rule of each metric, the one that decides first."""
    gate = spec.registration.gate
    first = _rule(spec, gate_metric(spec), gate.minimum, gate.maximum, gate.against_champion)
    return (
        first,
        *(_rule(spec, one.metric, one.minimum, one.maximum, one.against_champion) for one in gate.also),
    )


def _rule(
    spec: ExperimentSpec,
    metric: str,
    minimum: float | None,
    maximum: float | None,
    against: AgainstChampion | None,
) -> GateRule:
    return GateRule(
        metric=metric,
        lower_is_better=metric in spec.task.metrics.lower_is_better,
        minimum=minimum if maximum is None else maximum,
        margin=_margin(against) if against else None,
        confidence=_confidence(against) if against else 0.95,
        is_share=metric not in spec.task.metrics.unbounded,
    )


def _margin(against: AgainstChampion) -> float:
    return -against.margin if against.mode == "non_inferior" else against.margin


def _confidence(against: AgainstChampion) -> float:
    if against.family_error is None or against.horizon is None:
        return against.confidence
    return decide_confidence(against.family_error, against.horizon)


def gate_limits(spec: ExperimentSpec) -> Limits:
    """What a challenger must keep to, whatever the champion does."""
    gate = spec.registration.gate
    return Limits(
        gate.per_class_floor, gate.max_ece, gate.max_size_mb, gate.max_latency_ms, _slice_rule(spec)
    )


def _slice_rule(spec: ExperimentSpec) -> SliceRule | None:
    bound = spec.registration.gate.slices
    if bound is None:
        return None
    metric = bound.metric or gate_metric(spec)
    worst = bound.minimum if bound.maximum is None else bound.maximum
    lower = metric in spec.task.metrics.lower_is_better
    return None if worst is None else SliceRule(metric, worst, bound.by, lower)


def look_note(spec: ExperimentSpec, looks: int) -> str:
    """Which of the comparisons this is, among which the error is shared out; empty where none is.

    Args:
        spec: The spec.
        looks: Versions that were compared with a champion before.
    """
    against = spec.registration.gate.against_champion
    if against is None or against.family_error is None or against.horizon is None:
        return ""
    number = looks % against.horizon + 1
    return (
        f"comparison {number} of {against.horizon}, which together promote a model that is no better with a "
        f"probability of at most {against.family_error:g}"
    )
