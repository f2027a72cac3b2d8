"""What a challenger must keep to whatever the champion does: floors of classes and slices, size, time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from transferflow.evaluation.results import Slice
from transferflow.registry.gate import Limits, Measured, Part, SliceRule, VerdictKind
from transferflow.text import four_digits


def decide_limits(limits: Limits, measured: Measured) -> list[Part]:
    """What each limit says of what was measured; one that is missed rejects."""
    parts = [_class_floor(name, least, measured.per_class) for name, least in limits.class_floors.items()]
    ece = measured.metrics.get("ece")
    sizes = (
        ("ece", "", limits.max_ece, ece.value if ece else math.nan),
        ("size", " MB", limits.max_size_mb, measured.size_mb),
        ("time for one image", " ms", limits.max_latency_ms, measured.latency_ms),
    )
    for name, unit, most, value in sizes:
        if most is not None:
            found = math.nan if value is None else value
            kind = VerdictKind.PROMOTE if found <= most else VerdictKind.REJECT
            verb = "meets" if found <= most else "misses"
            reason = f"{name} {found:.4g}{unit} {verb} the gate of at most {most:g}{unit}"
            parts.append(Part(kind, (reason,)))
    if limits.slices is not None:
        parts += [
            _slices(limits.slices, by, slices)
            for by, slices in measured.slices.items()
            if limits.slices.by in (None, by)
        ]
    return parts


def _class_floor(name: str, least: float, per_class: Mapping[str, Mapping[str, float]]) -> Part:
    values = {label: row.get(name, math.nan) for label, row in per_class.items()}
    below = {label: value for label, value in values.items() if value < least}
    unknown = [label for label, value in values.items() if math.isnan(value)]
    if below:
        worst = ", ".join(
            f"{label} {four_digits(value)}" for label, value in sorted(below.items(), key=lambda x: x[1])
        )
        return Part(VerdictKind.REJECT, (f"{name} misses the gate of at least {least:g} in: {worst}",))
    if unknown:
        reason = f"{name} of these classes can't be measured on the test images: {', '.join(unknown)}"
        return Part(VerdictKind.HOLD, (reason,))
    return Part(VerdictKind.PROMOTE, (f"{name} meets the gate of at least {least:g} in every class",))


def _slices(rule: SliceRule, by: str, slices: Sequence[Slice]) -> Part:
    """Slices with few images decide nothing, and are said; one without a value can't be told."""
    judged = {one.name: one.metrics[rule.metric].value for one in slices if one.judged}
    small = [f"{one.name} ({one.images})" for one in slices if not one.judged]
    sign = -1 if rule.lower_is_better else 1
    below = {name: value for name, value in judged.items() if sign * value < sign * rule.worst}
    unknown = [name for name, value in judged.items() if math.isnan(value)]
    bound = f"the gate of at {'most' if rule.lower_is_better else 'least'} {rule.worst:g}"
    few = (f"slices by {by} with too few images to decide on: {', '.join(small)}",) if small else ()
    if below:
        ordered = sorted(below.items(), key=lambda pair: sign * pair[1])
        worst = ", ".join(f"{name} {four_digits(value)}" for name, value in ordered)
        return Part(VerdictKind.REJECT, (f"{rule.metric} misses {bound} in slices by {by}: {worst}", *few))
    if unknown or not judged:
        what = f"can't be measured in these slices by {by}: {', '.join(unknown)}"
        reason = f"{rule.metric} {what if unknown else f'has no slice by {by} with images enough'}"
        return Part(VerdictKind.HOLD, (reason, *few))
    return Part(VerdictKind.PROMOTE, (f"{rule.metric} meets {bound} in every slice by {by}", *few))
