"""Which precision a trial speaks for."""

import pytest

from transferflow.training.precision import Spent, decide_precision, is_worth_a_trial

# In bf16 what is frozen takes half the time, and a step twice as long.
TRIAL = {"fp32": Spent(prefix=0.02, step=0.001), "bf16": Spent(prefix=0.01, step=0.002)}


@pytest.mark.parametrize(
    ("passes", "steps", "expected", "share"),
    [
        (1000, 1000, "bf16", 12 / 21),
        (1000, 10_000, "fp32", 1.0),
        (0, 10_000, "fp32", 2.0),
        (1000, 9_000, "fp32", 28 / 29),  # less, but not clearly
    ],
)
def test_the_whole_training_counts(passes, steps, expected, share):
    choice = decide_precision(TRIAL, passes, steps)
    assert choice.precision == expected
    assert choice.share == pytest.approx(share)


def test_a_short_training_is_not_worth_a_trial():
    assert is_worth_a_trial(images=1000, epochs=10, pixels=224 * 224)
    assert not is_worth_a_trial(images=2500, epochs=8, pixels=64 * 64)
    assert not is_worth_a_trial(images=100_000, epochs=0, pixels=224 * 224)
