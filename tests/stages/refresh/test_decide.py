import pytest

from transferflow.spec.sections.evaluation import Refresh
from transferflow.stages.refresh.decide import (
    Arrival,
    DataChange,
    DriftFound,
    decide_arrival,
    decide_drift_is_due,
    decide_loss,
    decide_refresh,
)


def rule(**fields):
    return Refresh(poll="0 * * * *", **fields)


def change(**counts):
    total = sum(count for count in counts.values() if isinstance(count, int))
    return DataChange(images=100, changed=total, **counts)


def drifted(p_value):
    return DataChange(100, added=7, changed=7, drift=DriftFound(500, 7, 20, 0.2, p_value, note="why"))


@pytest.mark.parametrize(
    ("fields", "found", "days", "action", "words"),
    [
        ({}, None, None, "train", "no training of this spec"),
        ({}, change(), 900, "nothing", "no image was added"),
        ({}, change(added=1), None, "train", "min_changed"),
        ({"min_changed": 10}, change(added=9), None, "nothing", "9 added"),
        ({"min_changed": 10}, change(added=6, relabelled=3, removed=1), None, "train", "min_changed"),
        ({"min_changed": 10}, change(relabelled=1), None, "nothing", "fewer than the 10"),
        ({"min_changed": 10, "on_relabel": True}, change(relabelled=1), None, "train", "on_relabel"),
        ({"min_changed": 10, "on_relabel": True}, change(added=1), None, "nothing", "fewer"),
        (
            {"min_changed": 50, "min_new_per_class": 5},
            change(added=8, new_per_class={"a": 3, "b": 5}),
            None,
            "train",
            "5 new images of b",
        ),
        (
            {"min_changed": 50, "min_new_per_class": 6},
            change(added=8, new_per_class={"a": 3, "b": 5}),
            None,
            "nothing",
            "fewer",
        ),
        ({"min_changed": 50, "max_age_days": 7.0}, change(added=1), 7.0, "train", "7.0 days old"),
        ({"min_changed": 50, "max_age_days": 7.0}, change(added=1), 6.9, "nothing", "fewer"),
        ({"min_changed": 50, "max_age_days": 7.0}, change(added=1), None, "nothing", "fewer"),
        ({"min_changed": 50, "drift": {"p_value": 0.05}}, drifted(0.05), None, "train", "differ from those"),
        (
            {"min_changed": 50, "drift": {"p_value": 0.05}},
            drifted(0.05),
            None,
            "train",
            "(drift.p_value 0.05)",
        ),
        (
            {"min_changed": 50, "drift": {}},
            drifted(0.011),
            None,
            "nothing",
            "min_changed; drift: MMD² 0.2000, p",
        ),
        ({"min_changed": 50, "drift": {}}, drifted(None), None, "nothing", "drift was not measured: why"),
        ({"min_changed": 50}, drifted(0.001), None, "nothing", "fewer than the 50 of min_changed"),
        (
            {"drift": {}},
            drifted(0.5),
            None,
            "train",
            "min_changed; drift: MMD² 0.2000, p 0.500, 7 new images",
        ),
        ({}, change(removed=20), None, "train", "20 removed"),
        ({}, change(removed=21), None, "stop", "21 of 100 images are gone"),
        ({"on_relabel": True}, change(removed=50, relabelled=9, added=50), 99, "stop", "max_removed"),
        ({"max_removed": 1.0}, change(removed=100), None, "train", "100 removed"),
    ],
)
def test_the_rule_decides(fields, found, days, action, words):
    decision = decide_refresh(rule(**fields), found, days)
    assert (decision.action, words in decision.reason) == (action, True), decision.reason


@pytest.mark.parametrize(
    ("arrival", "words"),
    [
        (Arrival(299, "cat/9.png"), "cat/9.png changed 299 s ago"),
        (Arrival(300, "cat/9.png"), None),
        (
            Arrival(9999, "", missing=2, example="labels.csv:7"),
            "2 named files are not there yet, such as labels",
        ),
    ],
)
def test_what_is_half_copied_is_waited_for(arrival, words):
    decision = decide_arrival(rule(), arrival)
    assert (decision is None) == (words is None)
    if words is not None:
        assert decision.action == "wait"
        assert words in decision.reason


@pytest.mark.parametrize(("images", "before", "stops"), [(80, 100, False), (79, 100, True), (0, 0, False)])
def test_a_set_that_lost_much_is_not_trained_on(images, before, stops):
    assert (decide_loss(rule(), images, before) is not None) is stops


@pytest.mark.parametrize(
    ("fields", "found", "is_due"),
    [
        ({}, change(added=5), False),
        ({"drift": {}}, change(), False),
        ({"drift": {}}, change(added=5), True),
        ({"drift": {}}, change(added=5, removed=21), False),
        ({"drift": {}}, drifted(0.5), False),
        ({"drift": {}}, drifted(None), False),
        ({"drift": {"images": 100}}, drifted(0.5), True),
    ],
)
def test_drift_is_measured_when_it_is_asked_for_and_not_known(fields, found, is_due):
    assert decide_drift_is_due(rule(**fields), found) is is_due


def test_a_change_survives_json_and_one_of_before_has_no_drift():
    for found in (drifted(0.5), change(added=2)):
        assert DataChange.from_json(found.to_json()) == found
    old = change(added=2).to_json()
    del old["drift"]
    assert DataChange.from_json(old) == change(added=2)
