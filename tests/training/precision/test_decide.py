"""Which precision a trial speaks for."""

import pytest

from transferflow.training.precision.decide import Spent, Trial, decide_precision, is_worth_a_trial

# In bf16 what is frozen takes half the time, and a step twice as long.
FP32, BF16 = Spent(prefix=0.02, step=0.001), Spent(prefix=0.01, step=0.002)
SIDE = 500
PIXELS = SIDE * SIDE


@pytest.mark.parametrize(
    ("views", "train", "val", "epochs", "expected", "share"),
    [
        (1, 1000, 0, 1, "bf16", 12 / 21),
        (1, 1000, 0, 10, "fp32", 1.0),
        (1, 1000, 0, 9, "fp32", 28 / 29),  # less, but not clearly
        (4, 1000, 0, 10, "bf16", 60 / 90),
        (4, 1000, 0, 2, "bf16", 24 / 42),  # no more views than epochs
        (1, 1000, 1000, 10, "bf16", 40 / 50),
        (0, 1000, 0, 10, "fp32", 2.0),
    ],
)
def test_the_whole_training_counts(views, train, val, epochs, expected, share):
    choice = decide_precision(Trial(PIXELS, views, FP32, BF16), train, val, epochs)
    assert choice.precision == expected
    assert choice.share == pytest.approx(share)


@pytest.mark.parametrize(
    ("images", "epochs", "side", "expected"),
    [
        (1000, 10, 224, True),
        (2500, 8, 64, False),
        (90, 10, 1000, False),  # many pixels, but the trial itself is of some images
        (100_000, 0, 224, False),
    ],
)
def test_what_is_short_follows_the_rule(images, epochs, side, expected):
    assert is_worth_a_trial(images, epochs, side * side) is expected
    trial = Trial(side * side, 1, FP32, BF16)
    assert (decide_precision(trial, images, 0, epochs) is not None) is expected
