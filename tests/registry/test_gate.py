import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferflow.registry.gate import (
    ChampionComparison,
    GateRule,
    NotComparable,
    VerdictKind,
    decide_verdict,
)

PROMOTE, HOLD, REJECT = VerdictKind.PROMOTE, VerdictKind.HOLD, VerdictKind.REJECT


def compared(difference, low, high):
    return ChampionComparison("version 3", 0.9, difference, low, high)


@pytest.mark.parametrize(
    ("value", "minimum", "lower", "kind", "words"),
    [
        (0.91, 0.9, False, PROMOTE, "auroc 0.9100 meets the gate of at least 0.9"),
        (0.90, 0.9, False, PROMOTE, "meets"),
        (0.89, 0.9, False, REJECT, "auroc 0.8900 misses the gate of at least 0.9"),
        (0.04, 0.05, True, PROMOTE, "meets the gate of at most 0.05"),
        (0.06, 0.05, True, REJECT, "misses the gate of at most 0.05"),
        (math.nan, None, False, REJECT, "could not be measured"),
    ],
)
def test_the_minimum_decides_when_there_is_no_champion(value, minimum, lower, kind, words):
    verdict = decide_verdict(GateRule("auroc", lower, minimum), value, None)
    assert verdict.kind is kind
    assert words in verdict.reasons[0]


@pytest.mark.parametrize(
    ("low", "high", "margin", "lower", "kind"),
    [
        (0.01, 0.03, 0.0, False, PROMOTE),
        (-0.01, 0.03, 0.0, False, HOLD),
        (-0.03, -0.01, 0.0, False, REJECT),
        (0.0, 0.0, 0.0, False, HOLD),  # the same model again
        (0.01, 0.03, 0.02, False, HOLD),
        (0.025, 0.03, 0.02, False, PROMOTE),
        (-0.005, 0.03, -0.01, False, PROMOTE),  # not worse by a hundredth
        (-0.02, -0.005, -0.01, False, HOLD),
        (-0.03, -0.02, -0.01, False, REJECT),
        (-0.03, -0.01, 0.0, True, PROMOTE),  # ece fell
        (0.01, 0.03, 0.0, True, REJECT),
        (math.nan, math.nan, 0.0, False, HOLD),
    ],
)
def test_the_champion_is_beaten_only_when_the_interval_says_so(low, high, margin, lower, kind):
    rule = GateRule("auroc", lower, 0.5 if not lower else 0.99, margin)
    verdict = decide_verdict(rule, 0.92, compared((low + high) / 2, low, high))
    assert verdict.kind is kind
    assert "version 3, 0.9000" in verdict.reasons[-1]
    assert "95% interval" in verdict.reasons[-1]


def test_a_champion_that_cannot_be_measured_holds_the_challenger():
    verdict = decide_verdict(GateRule("auroc"), 0.99, NotComparable("version 1", "its classes differ"))
    assert verdict.kind is HOLD
    assert verdict.reasons == ("not comparable with the champion (version 1): its classes differ",)


def test_without_a_comparison_the_minimum_is_enough():
    # `None` also stands for a champion that was not measured, as nothing asks for it.
    for champion in (compared(-0.5, -0.6, -0.4), None):
        verdict = decide_verdict(GateRule("auroc", margin=None), 0.1, champion)
        assert verdict.kind is PROMOTE
        assert verdict.reasons == ("the gate asks for no comparison with the champion",)


unit = st.floats(-1, 1)


@given(value=st.floats(0, 1), ends=st.tuples(unit, unit), margin=unit, minimum=st.none() | st.floats(0, 1))
def test_mirrored_metrics_get_the_same_verdict(value, ends, margin, minimum):
    low, high = sorted(ends)
    up = decide_verdict(GateRule("m", False, minimum, margin), value, compared(low, low, high))
    mirrored = GateRule("m", True, None if minimum is None else -minimum, margin)
    down = decide_verdict(mirrored, -value, compared(-low, -high, -low))
    assert up.kind is down.kind
    assert up.reasons
