"""Rules of the gate: metrics that are measured, bounds that suit them, comparisons that make sense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from transferflow.spec.deciding import gate_metric
from transferflow.spec.sections.base import Found
from transferflow.spec.sections.evaluation import DEFAULT_CONFIDENCE, AgainstChampion, Gate, MetricBound
from transferflow.spec.sections.slices import OWN_SLICES, SliceBound
from transferflow.spec.sections.whole import Sections
from transferflow.spec.wording import did_you_mean

_GATE = ("registration", "gate")


def _bounds(spec: Sections) -> Iterator[tuple[tuple[str, ...], str, Gate | MetricBound | SliceBound]]:
    """Key path, metric and bounds of everything that the gate asks of a metric."""
    gate = spec.registration.gate
    yield _GATE, gate_metric(spec), gate
    for number, one in enumerate(gate.also):
        yield (*_GATE, "also", str(number)), one.metric, one
    if gate.slices is not None:
        yield (*_GATE, "slices"), gate.slices.metric or gate_metric(spec), gate.slices


def _bounds_suit_their_metric(spec: Sections) -> Iterator[Found]:
    names = spec.task.metrics
    for path, metric, bound in _bounds(spec):
        in_the_unit = metric in names.in_the_unit
        if bound.minimum is not None and in_the_unit:
            message = (
                f"{metric} is an error in the unit of the data: set `maximum`, the largest that may pass"
            )
            yield (*path, "minimum"), message
        if bound.maximum is not None and not in_the_unit:
            yield (*path, "maximum"), f"{metric} is from 0 to 1: set `minimum`"
        if not isinstance(bound, SliceBound) and bound.against_champion is not None:
            for key, message in _against(bound.against_champion, metric, metric in names.unbounded):
                yield (*path, "against_champion", key), message


def _against(against: AgainstChampion, metric: str, unbounded: bool) -> Iterator[tuple[str, str]]:
    if not -1 <= against.margin <= 1 and not unbounded:
        yield "margin", f"{against.margin:g} is no difference of {metric}; allowed: -1 to 1"
    if against.mode == "non_inferior" and against.margin <= 0:
        message = "with `mode: non_inferior` the margin is the loss that is accepted: more than 0, as in 0.01"
        yield "margin", message
    if (against.family_error is None) != (against.horizon is None):
        missing = "horizon" if against.horizon is None else "family_error"
        yield missing, "`family_error` is shared by the comparisons of a `horizon`: set both, or neither"
    elif against.family_error is not None and against.confidence != DEFAULT_CONFIDENCE:
        yield "confidence", "follows from `family_error` and `horizon`: leave it out"


def _further_metrics_are_measured(spec: Sections) -> Iterator[Found]:
    gate = spec.registration.gate
    counts = Counter([gate_metric(spec), *(one.metric for one in gate.also)])
    for number, one in enumerate(gate.also):
        path = (*_GATE, "also", str(number), "metric")
        problem = _not_measured(spec, one.metric)
        if problem:
            yield path, problem
        elif counts[one.metric] > 1:
            yield path, f"the gate has rules for {one.metric} already: join them"
        elif one.minimum is None and one.maximum is None and one.against_champion is None:
            yield path, "asks for nothing: set `minimum`, `maximum` or `against_champion`"


def _not_measured(spec: Sections, metric: str) -> str:
    """Why a metric can't decide; empty where it can."""
    known = spec.task.metrics.names
    if metric not in known:
        hint = did_you_mean(metric, known)
        message = f"{spec.task.kind} has no metric {metric!r}; it has: {', '.join(known)}"
        return f"{message}; {hint}" if hint else message
    measured = metric in (spec.evaluation.metrics or known)
    return "" if measured else f"{metric} is not measured: add it to evaluation.metrics"


def _slices_are_measured(spec: Sections) -> Iterator[Found]:
    bound, path = spec.registration.gate.slices, (*_GATE, "slices")
    if bound is None:
        return
    known = [one.by for one in spec.evaluation.slices]
    if not known or (bound.by is not None and bound.by not in known):
        by = bound.by or OWN_SLICES[0]
        hint = did_you_mean(by, known)
        message = f"no slices by {by} are measured: set evaluation.slices, as in `[{{by: {by}}}]`"
        yield (*path, "by"), f"{message}; {hint}" if hint else message
    if bound.metric is not None and (problem := _not_measured(spec, bound.metric)):
        yield (*path, "metric"), problem
    if bound.minimum is None and bound.maximum is None:
        yield path, "asks for nothing: set `minimum` or `maximum`"


def _bins_are_for_numbers(spec: Sections) -> Iterator[Found]:
    for number, one in enumerate(spec.evaluation.slices):
        if one.by == "group" and one.bins is not None:
            yield ("evaluation", "slices", str(number), "bins"), "groups have names, not numbers: remove it"


def _limits_are_the_tasks(spec: Sections) -> Iterator[Found]:
    gate, names = spec.registration.gate, spec.task.metrics
    for name in gate.per_class_floor:
        if name not in names.per_class:
            has = ", ".join(names.per_class) or "none"
            hint = did_you_mean(name, names.per_class)
            message = f"{spec.task.kind} has no per-class metric {name!r}; it has: {has}"
            yield (*_GATE, "per_class_floor", name), f"{message}; {hint}" if hint else message
    if gate.max_ece is not None:
        if "ece" not in names.names:
            yield (*_GATE, "max_ece"), f"{spec.task.kind} has no probabilities that could be calibrated"
        elif "ece" not in (spec.evaluation.metrics or names.names):
            yield (*_GATE, "max_ece"), "ece is not measured: add it to evaluation.metrics"


GATE_RULES = (
    _bounds_suit_their_metric,
    _further_metrics_are_measured,
    _slices_are_measured,
    _bins_are_for_numbers,
    _limits_are_the_tasks,
)
