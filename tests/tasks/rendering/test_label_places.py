import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFont

from transferflow.tasks.rendering.label_places import Mark, place_labels

FONT = ImageFont.load_default(size=10)
SIZE = (300, 200)


def mark(*edges, text="weed 0.50"):
    return Mark(edges, (0, 0, 0), text, crowd=False)


def shared(one, other):
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0) * max(high, 0)


edges = st.tuples(st.integers(-20, 310), st.integers(-20, 210), st.integers(0, 90), st.integers(0, 90))


@settings(max_examples=100, deadline=None)
@given(st.lists(edges, max_size=40))
def test_labels_hide_neither_each_other_nor_a_box_and_stay_in_the_picture(found):
    marks = [mark(x, y, x + w, y + h, text="a" * (w % 7)) for x, y, w, h in found]
    placed = place_labels(marks, FONT, SIZE, 2)
    for one, other in itertools.combinations((place for _, place in placed), 2):
        assert shared(one, other) == 0
    for (owner, place), box in itertools.product(placed, marks):
        assert owner.text
        assert place[2] <= SIZE[0]
        assert place[3] <= SIZE[1]
        x_min, y_min, x_max, y_max = box.edges
        assert shared(place, box.edges) <= 0.25 * max((x_max - x_min) * (y_max - y_min), 1)


@pytest.mark.parametrize(
    ("edges", "side"),
    [
        ((50, 50, 150, 150), "inside"),
        ((50, 50, 60, 60), "above"),
        ((50, 2, 60, 12), "below"),
        ((50, 2, 60, 198), "beside"),
    ],
)
def test_a_label_that_does_not_fit_into_its_box_stands_next_to_it(edges, side):
    ((_, (left, top, right, bottom)),) = place_labels([mark(*edges)], FONT, SIZE, 2)
    assert {
        "inside": left > 50 and top > 50 and right < 150 and bottom < 150,
        "above": (left, bottom) == (50, 50),
        "below": (left, top) == (50, 12),
        "beside": (left, top) == (60, 2),
    }[side]


def test_the_last_mark_chooses_first_and_one_without_room_has_no_label():
    same = [mark(0, 0, 40, 14, text="weak"), mark(0, 0, 40, 14, text="strong")]
    placed = place_labels(same, FONT, (40, 28), 2)
    assert [owner.text for owner, _ in placed] == ["strong"]
