"""Answers of two runtimes held against each other: ties are no difference, and a difference is no tie."""

import numpy as np
import pytest

from transferflow.inference.parity import box_differences, value_difference
from transferflow.tasks.graphs import BoxCut

CUT = BoxCut(0.05, 100)
BOXES = np.array([[10, 10, 50, 60], [12, 8, 52, 61], [200, 30, 260, 90], [5, 5, 9, 9]], np.float32)
SCORES = np.array([0.9, 0.6, 0.6, 0.3], np.float32)
LABELS = np.array([0, 1, 1, 0])


def answer(order=(0, 1, 2, 3), **changes):
    """Boxes, scores and labels in another order; `number=(name, value)` changes one box."""
    parts = {"boxes": BOXES.copy(), "scores": SCORES.copy(), "labels": LABELS.copy()}
    for name, (number, value) in changes.items():
        parts[name][number] = value
    return [part[list(order)] for part in parts.values()]


def test_equal_scores_in_another_order_are_no_difference():
    assert box_differences(answer(), answer((0, 2, 1, 3)), CUT) == (0, 0, 0)
    nothing = [np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64)]
    assert box_differences(nothing, nothing, CUT) == (0, 0, 0)


@pytest.mark.parametrize(
    ("theirs", "boxes", "scores"),
    [
        (answer(boxes=(2, [200.4, 30, 260, 90])), 0.4, 0),  # moved a little
        (answer(boxes=(2, [203, 30, 260, 90])), 0, 0.55),  # moved: as if either side had a box of its own
        (answer(scores=(0, 0.8)), 0, 0.1),
        (answer(labels=(2, 0)), 0, 0.55),  # another class: the same
        (answer((0, 1, 2)), 0, 0.25),  # left out, far above the least score of a box
        (answer((0, 1, 3)), 0, 0.55),
        ([part[:0] for part in answer()], 0, 0.85),
    ],
)
def test_a_real_difference_is_told_whatever_the_order(theirs, boxes, scores):
    shuffled = [part[::-1] for part in theirs]
    for ours, other in ((answer(), shuffled), (shuffled, answer())):
        found = box_differences(ours, other, CUT)
        assert found == pytest.approx((boxes, scores, 0), abs=1e-5)


def test_a_tie_at_the_cut_is_no_difference():
    # A score that is just above the threshold for one side alone.
    weak = answer(scores=(3, 0.0501))
    assert max(box_differences(weak, [part[:3] for part in weak], CUT)) == pytest.approx(1e-4, abs=1e-6)
    # As many boxes as there may be, the last of which are of the same score, and others were kept.
    full = BoxCut(0.0, 4)
    other = answer(boxes=(3, [300, 300, 340, 340]), scores=(3, 0.2999))
    assert max(box_differences(answer(), other, full)) == pytest.approx(1e-4, abs=1e-6)
    assert max(box_differences(answer(), other, CUT)) > 0.2  # there was room for both


def test_boxes_that_are_all_alike_in_score_are_still_held_against_each_other():
    full = BoxCut(0.0, 4)
    ours = [BOXES, np.full(4, 0.01, np.float32), LABELS]
    theirs = [BOXES + 7, np.full(4, 0.01, np.float32), LABELS]
    assert box_differences(ours, theirs, full)[0] == pytest.approx(7)


def test_arrays_of_other_shapes_are_infinitely_far():
    assert value_difference(np.zeros((2, 3)), np.zeros((3, 2))) == float("inf")
    assert value_difference(np.zeros(3), np.array([0, 0.5, 0])) == 0.5
    assert box_differences(answer(), [BOXES, SCORES[:2], LABELS], CUT) == (float("inf"),) * 3
