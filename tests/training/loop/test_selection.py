import itertools

import pytest

from transferflow.training.job import FreezePhase, FreezeSchedule
from transferflow.training.loop.selection import Criterion, decide_best, decide_phases, decide_stop


def history(*values):
    return [{"score": value} for value in values]


@pytest.mark.parametrize(
    ("values", "lower", "best"),
    [
        ((0.2, 0.9, 0.5), False, 1),
        ((0.2, 0.9, 0.5), True, 0),
        ((0.5, 1.0, 1.0, 0.9), False, 1),
        ((3.0,), True, 0),
    ],
)
def test_the_best_epoch_is_the_first_of_equals(values, lower, best):
    assert decide_best(history(*values), Criterion("score", lower)) == best


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_what_is_kept_and_what_stops_agree_on_ties(patience):
    """When training stops, the kept epoch has just `patience` epochs behind it."""
    criterion = Criterion("score", False, patience)
    for values in itertools.product((0.1, 0.2, 0.3), repeat=5):
        for done in range(1, 6):
            rows = history(*values[:done])
            if decide_stop(schedule(0), rows, criterion):
                assert done - 1 - decide_best(rows, criterion) == patience
                break


def schedule(*starts):
    return FreezeSchedule(
        tuple(FreezePhase(start, frozenset({f"group{start}"})) for start in starts), "frozen"
    )


def starts(planned, values, patience=2, lower_is_better=False):
    found = decide_phases(planned, history(*values), Criterion("score", lower_is_better, patience))
    assert [phase.frozen for phase in found.phases] == [phase.frozen for phase in planned.phases]
    return [phase.first_epoch for phase in found.phases]


@pytest.mark.parametrize(
    ("values", "patience", "stops"),
    [
        ((0.5, 0.6, 0.6, 0.6), 2, True),  # a tie is no progress
        ((0.5, 0.6, 0.6), 2, False),
        ((0.5, 0.6, 0.4, 0.7), 2, False),
        ((0.5, 0.4, 0.3), None, False),
        ((), 1, False),
    ],
)
def test_training_stops_when_nothing_is_better_for_long_enough(values, patience, stops):
    found = decide_stop(schedule(0), history(*values), Criterion("score", False, patience))
    assert found is stops


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), [0, 4, 7]),
        ((0.5, 0.6, 0.7, 0.8), [0, 4, 7]),  # each keeps its length while it gets better
        ((0.5, 0.4, 0.3), [0, 3, 6]),  # the first ends after 3 epochs, the second keeps its 3
        ((0.9, 0.8, 0.7, 0.1, 0.2, 0.3), [0, 3, 6]),  # 0.9 is no measure for the second
        ((0.9, 0.8, 0.7, 0.3, 0.2, 0.1), [0, 3, 6]),  # patience and length end together
        ((0.5, 0.6, 0.5, 0.5, 0.9), [0, 4, 7]),
        ((0.5, 0.4, 0.4, 0.9, 0.8, 0.7, 0.1), [0, 3, 6]),
    ],
)
def test_patience_counts_within_a_phase_and_ends_it(values, expected):
    assert starts(schedule(0, 4, 7), values) == expected
    assert starts(schedule(0, 4, 7), [-value for value in values], lower_is_better=True) == expected


def test_without_patience_phases_stay_as_planned():
    assert starts(schedule(0, 4, 7), (0.5, 0.4, 0.3, 0.2, 0.1), patience=None) == [0, 4, 7]


def test_what_has_come_is_not_changed_by_what_comes():
    """A resume finds the same phases from the part of the history that it has."""
    values = (0.5, 0.4, 0.3, 0.6, 0.5, 0.5, 0.7, 0.6, 0.6, 0.6)
    whole = starts(schedule(0, 4, 7), values)
    for rows in range(len(values)):
        for first, now in zip(whole, starts(schedule(0, 4, 7), values[:rows]), strict=True):
            assert now == first or first >= rows


@pytest.mark.parametrize(
    ("values", "stops"),
    [
        ((0.9, 0.8, 0.7), False),  # ends the first phase only
        ((0.9, 0.8, 0.7, 0.5, 0.4), False),
        ((0.9, 0.8, 0.7, 0.5, 0.4, 0.3), True),
    ],
)
def test_only_the_last_phase_ends_the_training(values, stops):
    rows = history(*values)
    criterion = Criterion("score", lower_is_better=False, patience=2)
    assert decide_stop(decide_phases(schedule(0, 5), rows, criterion), rows, criterion) is stops
