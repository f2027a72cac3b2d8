"""What the gate says of slices."""

import math

import pytest

from transferflow.evaluation.results import MetricValue, Slice
from transferflow.registry.deciding import decide_verdict
from transferflow.registry.gate import GateRule, Limits, Measured, SliceRule, VerdictKind

PROMOTE, HOLD, REJECT = VerdictKind.PROMOTE, VerdictKind.HOLD, VerdictKind.REJECT


def slices(metric="accuracy", images=50, judged=True, **values):
    return tuple(Slice(name, images, {metric: MetricValue(v)}, judged) for name, v in values.items())


def verdict(rule, **by):
    measured = Measured({rule.metric: MetricValue(0.9)}, slices=by)
    rules = [GateRule(rule.metric, lower_is_better=rule.lower_is_better, margin=None)]
    return decide_verdict(rules, measured, {}, Limits(slices=rule))


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        ({"A": 0.8, "B": 0.9}, PROMOTE, "accuracy meets the gate of at least 0.8 in every slice by site"),
        ({"A": 0.95, "B": 0.79, "C": 0.5}, REJECT, "in slices by site: C 0.5000, B 0.7900"),
        ({"A": 0.95, "B": math.nan}, HOLD, "can't be measured in these slices by site: B"),
    ],
)
def test_every_slice_has_to_meet_the_floor(values, kind, words):
    found = verdict(SliceRule("accuracy", 0.8, "site"), site=slices(**values))
    assert found.kind is kind
    assert any(words in reason for reason in found.reasons)


def test_an_error_has_a_largest_value():
    rule = SliceRule("mae", 2.0, lower_is_better=True)
    found = verdict(rule, site=slices("mae", A=1.0, B=2.5, C=3.0))
    assert found.kind is REJECT
    assert "mae misses the gate of at most 2 in slices by site: C 3.0000, B 2.5000" in found.reasons
    assert verdict(rule, site=slices("mae", A=1.0, B=2.0)).kind is PROMOTE


def test_few_images_decide_nothing_and_are_said():
    few = slices(images=3, judged=False, C=0.0)
    found = verdict(SliceRule("accuracy", 0.8), site=slices(A=0.9) + few)
    assert found.kind is PROMOTE
    assert "slices by site with too few images to decide on: C (3)" in found.reasons
    assert verdict(SliceRule("accuracy", 0.8), site=few).kind is HOLD


def test_one_way_to_slice_or_all_of_them():
    by = {"site": slices(A=0.9), "scanner": slices(S=0.1)}
    assert verdict(SliceRule("accuracy", 0.8, "site"), **by).kind is PROMOTE
    assert verdict(SliceRule("accuracy", 0.8), **by).kind is REJECT
