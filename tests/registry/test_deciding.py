import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferflow.evaluation.results import MetricValue
from transferflow.registry import deciding
from transferflow.registry.deciding import decide_confidence, decide_needed
from transferflow.registry.gate import (
    ChampionComparison,
    GateRule,
    Limits,
    Measured,
    NotComparable,
    Opponents,
    VerdictKind,
)

PROMOTE, HOLD, REJECT = VerdictKind.PROMOTE, VerdictKind.HOLD, VerdictKind.REJECT


def compared(difference, low, high, name="version 3", **more):
    return ChampionComparison(name, 0.9, difference, low, high, **more)


def decide_verdict(rule, value, champion, reference=None):
    """The verdict by one metric alone."""
    measured = Measured({rule.metric: MetricValue(value)})
    return deciding.decide_verdict([rule], measured, {rule.metric: Opponents(champion, reference)})


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


def test_a_class_that_was_not_measured_never_passes_without_a_word():
    """A mean that leaves out a class is no statement about all of them; other metrics say what they saw."""
    table = {"a": {"support": 9.0, "f1": 1.0}, "b": {"support": 0.0, "f1": math.nan}}
    said = "mean over 1 of 2 classes; the images say nothing of 'b'"
    rules = {
        "macro_f1": (MetricValue(0.99, reason=said), HOLD),
        "accuracy": (MetricValue(0.99), PROMOTE),
    }
    for name, (value, kind) in rules.items():
        measured = Measured({name: value}, table)
        verdict = deciding.decide_verdict([GateRule(name, minimum=0.9)], measured, {})
        assert verdict.kind is kind
        assert verdict.reasons[-1].startswith("the test images show nothing of 'b'")
    assert (
        f"macro_f1: {said}"
        in deciding.decide_verdict(
            [GateRule("macro_f1")], Measured({"macro_f1": rules["macro_f1"][0]}), {}
        ).reasons
    )
    seen = {"a": {"support": 9.0}, "b": {"support": 1.0}}
    verdict = deciding.decide_verdict(
        [GateRule("accuracy")], Measured({"accuracy": MetricValue(1.0)}, seen), {}
    )
    assert verdict.reasons == ("there is no champion yet",)


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


@pytest.mark.parametrize(("low", "kind"), [(0.001, PROMOTE), (-0.001, HOLD)])
def test_left_out_the_margin_asks_for_any_gain_that_is_sure(low, kind):
    assert decide_verdict(GateRule("auroc"), 0.9, compared(0.01, low, 0.02)).kind is kind


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


LOSS = GateRule("auroc", margin=-0.01)


@pytest.mark.parametrize(
    ("reference", "rule", "kind", "sets_reference"),
    [
        (None, LOSS, PROMOTE, False),  # not worse, and not better either
        (compared(0.0, -0.005, 0.005, "version 1"), LOSS, PROMOTE, False),
        (compared(-0.012, -0.02, -0.004, "version 1"), LOSS, HOLD, False),  # losses have added up
        (compared(-0.04, -0.05, -0.03, "version 1"), LOSS, REJECT, False),
        (NotComparable("version 1", "its bundle is gone"), LOSS, HOLD, False),
        (compared(-0.04, -0.05, -0.03, "version 1"), GateRule("auroc", margin=None), PROMOTE, False),
    ],
)
def test_losses_within_the_margin_do_not_add_up(reference, rule, kind, sets_reference):
    verdict = decide_verdict(rule, 0.9, compared(-0.001, -0.006, 0.004), reference)
    assert (verdict.kind, verdict.sets_reference) == (kind, sets_reference)
    if reference is not None and rule is LOSS:
        assert "reference (version 1" in verdict.reasons[-1]


def test_the_reference_moves_only_where_it_is_beaten_itself():
    gain = compared(0.02, 0.01, 0.03)
    assert decide_verdict(GateRule("auroc"), 0.9, gain).sets_reference
    lower = compared(-0.01, -0.02, 0.0, "version 1")
    verdict = decide_verdict(GateRule("auroc"), 0.9, gain, lower)
    assert (verdict.kind, verdict.sets_reference) == (PROMOTE, False)
    assert decide_verdict(GateRule("auroc"), 0.9, gain, compared(0.01, 0.001, 0.02)).sets_reference
    assert decide_verdict(GateRule("auroc"), 0.9, None).sets_reference


def test_an_exact_test_has_to_agree_that_there_is_a_gain():
    for p_value, kind in ((0.04, PROMOTE), (0.06, HOLD)):
        verdict = decide_verdict(
            GateRule("accuracy"),
            0.9,
            compared(0.02, 0.001, 0.04, p_value=p_value, test="McNemar's exact test"),
        )
        assert verdict.kind is kind
        assert f"McNemar's exact test p = {p_value}" in verdict.reasons[-1]
    not_worse = compared(0.0, -0.005, 0.005, p_value=1.0)
    assert decide_verdict(GateRule("accuracy", margin=-0.01), 0.9, not_worse).kind is PROMOTE


def test_the_number_of_images_that_would_be_needed_is_said():
    small = compared(0.0, -0.05, 0.05, images=100)
    # the half width has to become 0.01, a fifth of what it is: 25 times the images
    assert "takes about 2,500 test images, not 100" in decide_verdict(LOSS, 0.9, small).reasons[-1]
    gain = compared(0.02, -0.02, 0.06, images=100)
    assert (
        "such a gain takes about 400 test images" in decide_verdict(GateRule("auroc"), 0.9, gain).reasons[-1]
    )
    loss = compared(-0.02, -0.06, 0.02, images=100)
    assert "takes" not in decide_verdict(GateRule("auroc"), 0.9, loss).reasons[-1]
    fell = compared(-0.02, -0.06, 0.02, images=100)
    assert "about 400" in decide_verdict(GateRule("ece", True), 0.1, fell).reasons[-1]
    assert decide_needed(0, -0.1, 0.1, -0.01, 0.0) is None


def test_the_error_of_many_comparisons_is_shared_out():
    # Bonferroni: each of 52 one-sided tests at 0.05 / 52
    confidence = decide_confidence(0.05, 52)
    assert (1 - confidence) / 2 * 52 == pytest.approx(0.05)
    rule = GateRule("auroc", confidence=confidence)
    assert "99.808% interval" in decide_verdict(rule, 0.9, compared(0.1, 0.01, 0.2)).reasons[-1]


def several(auroc_value, ece_value, limits=None, per_class=None, **opponents):
    rules = [GateRule("auroc"), GateRule("ece", True, 0.1, margin=-0.01)]
    measured = Measured(
        {"auroc": MetricValue(auroc_value), "ece": MetricValue(ece_value)},
        per_class or {},
        size_mb=12.0,
        latency_ms=30.0,
    )
    return deciding.decide_verdict(rules, measured, opponents, limits, ("a note",))


def test_every_metric_has_to_be_met():
    better, worse = compared(0.1, 0.05, 0.15), compared(0.1, 0.05, 0.15)
    assert several(0.9, 0.05).kind is PROMOTE
    assert several(0.9, 0.2).kind is REJECT
    verdict = several(0.9, 0.05, auroc=Opponents(better), ece=Opponents(worse))  # its calibration error rose
    assert verdict.kind is REJECT
    assert "ece against the champion" in verdict.reasons[-2]
    assert verdict.reasons[-1] == "a note"
    even = compared(0.0, -0.005, 0.005)
    assert several(0.9, 0.05, auroc=Opponents(better), ece=Opponents(even)).kind is PROMOTE
    assert several(0.9, 0.05, auroc=Opponents(even), ece=Opponents(even)).kind is HOLD


@pytest.mark.parametrize(
    ("limits", "kind", "words"),
    [
        (Limits(max_ece=0.05), PROMOTE, "ece 0.05 meets the gate of at most 0.05"),
        (Limits(max_ece=0.04), REJECT, "ece 0.05 misses"),
        (Limits(max_size_mb=11.9), REJECT, "size 12 MB misses the gate of at most 11.9 MB"),
        (Limits(max_latency_ms=30.0), PROMOTE, "time for one image 30 ms meets"),
        (Limits(max_latency_ms=29.0), REJECT, "misses the gate of at most 29 ms"),
        (Limits({"recall": 0.5}), PROMOTE, "recall meets the gate of at least 0.5 in every class"),
        (Limits({"recall": 0.8}), REJECT, "recall misses the gate of at least 0.8 in: b 0.6000, a 0.7000"),
        (Limits({"f1": 0.5}), HOLD, "f1 of these classes can't be measured on the test images: b"),
        (Limits({"f1": 0.9}), REJECT, "in: a 0.8000"),
    ],
)
def test_limits_hold_whatever_the_champion_does(limits, kind, words):
    per_class = {"a": {"recall": 0.7, "f1": 0.8}, "b": {"recall": 0.6, "f1": math.nan}}
    verdict = several(0.9, 0.05, limits, per_class)
    assert verdict.kind is kind
    assert any(words in reason for reason in verdict.reasons)


@pytest.mark.parametrize(
    ("images", "rule", "kind"),
    [
        (2, LOSS, HOLD),  # two images on which both models agree show next to nothing
        (368, LOSS, HOLD),
        (369, LOSS, PROMOTE),
        (10, GateRule("auroc", margin=-0.5), PROMOTE),
        (2, GateRule("mae", True, margin=-0.01, is_share=False), PROMOTE),
    ],
)
def test_images_without_any_difference_are_no_proof_unless_there_are_enough(images, rule, kind):
    # By hand: if one image in a hundred differed, 369 without any would come up with 0.99 ** 369 < 0.025.
    assert 0.99**369 < 0.025 < 0.99**366
    verdict = decide_verdict(rule, 0.9, compared(0.0, 0.0, 0.0, images=images))
    assert verdict.kind is kind
    if kind is HOLD:
        assert f"369 would do, there are {images}" in verdict.reasons[-1]


@pytest.mark.parametrize(
    ("margin", "interval", "kind"),
    [
        (0.0, (0.002, 0.05), PROMOTE),
        (0.0, (-0.001, 0.05), HOLD),
        (-0.01, (-0.009, 0.05), PROMOTE),
        (-0.01, (-0.011, 0.05), HOLD),
    ],
)
def test_an_interval_beside_the_bootstrap_has_to_agree_at_any_margin(margin, interval, kind):
    found = compared(0.02, 0.001, 0.04, p_value=0.01, test="DeLong's test", test_interval=interval)
    verdict = decide_verdict(GateRule("auroc", margin=margin), 0.9, found)
    assert verdict.kind is kind
    assert "DeLong's test p = 0.01" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("rule", "value", "majority", "kind", "said"),
    [
        (GateRule("map"), 0.0, None, HOLD, "map 0.0000 is the worst there is"),
        (GateRule("map"), 0.001, None, PROMOTE, "there is no champion yet"),
        (
            GateRule("accuracy"),
            0.5,
            0.5,
            PROMOTE,
            "WARNING: accuracy 0.5000 is no better than the same answer",
        ),
        (GateRule("accuracy"), 0.51, 0.5, PROMOTE, "there is no champion yet"),
        (GateRule("accuracy", minimum=0.1), 0.5, 0.6, PROMOTE, "accuracy 0.5000 meets the gate"),
        (GateRule("mae", True, is_share=False), 4.0, 3.5, PROMOTE, "WARNING: mae 4.0000 is no better"),
        (GateRule("mae", True, is_share=False), 0.0, 3.5, PROMOTE, "there is no champion yet"),
        (GateRule("ece", True), 0.2, 0.01, PROMOTE, "there is no champion yet"),
        (GateRule("r2", is_share=False), 0.0, None, PROMOTE, "there is no champion yet"),
    ],
)
def test_a_first_model_without_a_minimum_is_held_against_the_same_answer_for_all(
    rule, value, majority, kind, said
):
    floor = {} if majority is None else {rule.metric: MetricValue(majority)}
    verdict = deciding.decide_verdict([rule], Measured({rule.metric: MetricValue(value)}, majority=floor), {})
    assert verdict.kind is kind
    assert verdict.reasons[0].startswith(said)


def test_a_champion_is_all_that_a_later_model_is_held_against():
    measured = Measured({"accuracy": MetricValue(0.5)}, majority={"accuracy": MetricValue(0.6)})
    found = {"accuracy": Opponents(compared(0.1, 0.05, 0.15))}
    verdict = deciding.decide_verdict([GateRule("accuracy")], measured, found)
    assert verdict.kind is PROMOTE
    assert "WARNING" not in " ".join(verdict.reasons)
