import pytest

from transferflow.training.loop.selection import decide_best, decide_stop


def history(*values):
    return [{"score": value} for value in values]


@pytest.mark.parametrize(
    ("values", "lower", "best"),
    [
        ((0.2, 0.9, 0.5), False, 1),
        ((0.2, 0.9, 0.5), True, 0),
        ((0.5, 1.0, 1.0, 0.9), False, 2),
        ((3.0,), True, 0),
    ],
)
def test_the_best_epoch_is_the_latest_of_equals(values, lower, best):
    assert decide_best(history(*values), "score", lower_is_better=lower) == best


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
    assert decide_stop(history(*values), "score", lower_is_better=False, patience=patience) is stops
