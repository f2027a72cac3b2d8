from __future__ import annotations

import numpy as np
import pytest

from transferflow.data.files.boxes import FRACTIONS, Seen, box_problem, fit_boxes, turn_edges
from transferflow.data.files.pixels import orient
from transferflow.data.records import Box, Record


def record(*edges, frame=None):
    boxes = tuple(Box(*values, "cat", line=i) for i, values in enumerate(edges))
    return Record("a.png", "a.png", boxes=boxes, frame=frame, source="labels.txt:1")


def edges_of(fitted):
    return [(b.x_min, b.y_min, b.x_max, b.y_max) for b in fitted.boxes]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_boxes_cover_the_same_pixels(orientation):
    stored = np.zeros((10, 20), np.uint8)
    stored[2:5, 3:11] = 1
    turned = orient(stored, orientation)
    seen = Seen(turned.shape[1], turned.shape[0], orientation)
    x_min, y_min, x_max, y_max = map(int, turn_edges((3, 2, 11, 5), seen))
    expected = np.zeros_like(turned)
    expected[y_min:y_max, x_min:x_max] = 1
    assert np.array_equal(turned, expected)


def test_annotations_of_the_stored_pixels_are_turned_and_others_are_not():
    seen = Seen(10, 20, 6)
    stored, _ = fit_boxes(record((3, 2, 11, 5), frame=(20, 10)), seen, "clip")
    shown, _ = fit_boxes(record((5, 3, 8, 11), frame=(10, 20)), seen, "clip")
    assert edges_of(stored) == edges_of(shown) == [(5, 3, 8, 11)]
    assert stored.frame is None


def test_fractions_become_pixels_as_seen():
    fitted, findings = fit_boxes(record((0.25, 0.5, 0.75, 1.0), frame=FRACTIONS), Seen(40, 20, 6), "clip")
    assert edges_of(fitted) == [(10, 10, 30, 20)]
    assert findings == []


def test_other_sizes_are_quarantined():
    fitted, findings = fit_boxes(record((1, 1, 2, 2), frame=(30, 30)), Seen(20, 10, 1), "clip")
    assert fitted is None
    assert [(f.kind, f.severity) for f in findings] == [("size_mismatch", "quarantine")]
    assert "20 x 10 pixels, its annotations 30 x 30" in findings[0].reason


def test_an_objects_area_is_cut_with_its_box():
    given = (Box(2, 2, 8, 8, "cat", area=20.5), Box(-5, 2, 5, 8, "cat", area=30), Box(2, 2, 8, 8, "cat"))
    fitted, _ = fit_boxes(Record("a.png", "a.png", boxes=given, source="a:1"), Seen(20, 10, 1), "clip")
    assert [box.area for box in fitted.boxes] == [20.5, 15, None]
    assert [box.object_area for box in fitted.boxes] == [20.5, 15, 36]


def test_boxes_that_leave_the_image():
    box = (15.0, -4.0, 25.0, 5.0)
    fitted, findings = fit_boxes(record((1, 1, 2, 2), box), Seen(20, 10, 1), "clip")
    assert edges_of(fitted) == [(1, 1, 2, 2), (15, 0, 20, 5)]
    assert [(f.kind, f.severity, f.where) for f in findings] == [("box_outside", "warning", "labels.txt:1")]
    _, findings = fit_boxes(record(box), Seen(20, 10, 1), "reject")
    assert [f.severity for f in findings] == ["error"]


def test_a_box_wholly_outside_can_not_be_clipped():
    fitted, findings = fit_boxes(record((30, 1, 40, 5)), Seen(20, 10, 1), "clip")
    assert fitted is None
    assert [(f.kind, f.severity) for f in findings] == [("box_outside", "quarantine")]


def test_rounding_is_cut_without_a_word():
    fitted, findings = fit_boxes(record((-0.4, 0, 20.9, 10.0)), Seen(20, 10, 1), "reject")
    assert edges_of(fitted) == [(0, 0, 20, 10)]
    assert findings == []


@pytest.mark.parametrize(
    ("edges", "kind"),
    [
        ((0, 0, 1, 1), None),
        ((5, 5, 5, 9), "empty_box"),
        ((5, 5, 4, 9), "inverted_box"),
        ((5, 5, float("inf"), 9), "bad_box"),
        ((float("nan"), 5, 6, 9), "bad_box"),
    ],
)
def test_box_problem(edges, kind):
    found = box_problem(Box(*edges, "cat"))
    assert (found and found[0]) == kind
