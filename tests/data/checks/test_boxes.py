from __future__ import annotations

import random
from dataclasses import replace

import pytest

from transferflow.data.checks.boxes import check_boxes, drop_equal_boxes
from transferflow.data.files.boxes import FRACTIONS, Seen
from transferflow.data.records import Box, Record

SEEN = Seen(64, 48, 1)


def record(*boxes, frame=None, source="a.json:images[0]"):
    made = tuple(Box(*edges, label="cat", line=i) for i, edges in enumerate(boxes))
    return Record("a.png", "a.png", boxes=made, frame=frame, source=source)


def check(*records, seen=SEEN, allowed=0.01):
    return list(check_boxes(records, [seen] * len(records), allowed))


def test_fractions_where_pixels_are_expected():
    (found,) = check(record((0.1, 0.2, 0.4, 0.6)), record((0, 0, 1, 1)))
    assert (found.kind, found.severity, found.where) == ("tiny_box", "error", "a.json:annotations[0]")
    assert found.reason.startswith(
        "1 of 2 boxes are less than a pixel wide or high, in a.png first: they are fractions of the image, "
        "where pixels are expected: multiply them by width and height, in Python, with the file in `c`: `"
    )
    coco = {
        "images": [{"id": 7, "width": 64, "height": 48}],
        "annotations": [{"image_id": 7, "bbox": [0.25, 0.5, 0.5, 0.25]}],
    }
    exec(found.reason.split("`")[3], {"c": coco})
    assert coco["annotations"][0]["bbox"] == [16, 24, 32, 12]


def test_fractions_in_a_format_without_sizes():
    (found,) = check(record((0.1, 0.2, 0.4, 0.6), source="a.xml:1"))
    assert found.reason.endswith("multiply them by width and height")


@pytest.mark.parametrize(("good", "severity"), [(99, "warning"), (98, "error")])
def test_boxes_under_a_pixel_above_one_percent_are_an_error(good, severity):
    tiny = [(5, 5, 5.5, 9)] * (100 - good)
    (found,) = check(record(*[(1, 1, 50, 40)] * good, *tiny))
    assert (found.kind, found.severity, found.where) == ("tiny_box", severity, f"a.json:annotations[{good}]")
    assert "fractions" not in found.reason


def test_fractions_are_pixels_of_their_image():
    assert not check(record((0.1, 0.1, 0.5, 0.5), frame=FRACTIONS))
    (found,) = check(record((0.1, 0.1, 0.11, 0.5), frame=FRACTIONS, source="labels/a.txt:1"))
    assert (found.kind, found.where) == ("tiny_box", "labels/a.txt:0")


CORNERS = [(10, 12, 40, 44), (30, 20, 60, 47), (2, 3, 62, 46)]


def test_corners_where_a_size_is_expected():
    as_sizes = [(x, y, x + right, y + bottom) for x, y, right, bottom in CORNERS]
    (found,) = check(record(*as_sizes))
    assert (found.kind, found.severity) == ("box_corners", "error")
    assert found.reason.startswith("2 of 3 boxes leave their image, and all fit as two corners")
    assert not check(record(*CORNERS))


def test_boxes_that_leave_their_image_and_are_no_corners():
    assert not check(record((10, 10, 70, 60), (50, 30, 80, 40), (1, 1, 9, 9)))


@pytest.mark.parametrize(("allowed", "kinds"), [(0.01, ["boxes_leave"]), (0.7, [])])
def test_most_boxes_leave_their_image(allowed, kinds):
    """Percent in a format of pixels, or annotations of a larger image: they were cut, with warnings alone."""
    boxes = [(10, 10, 50, 95)] * 7 + [(1, 1, 9, 9)] * 5
    found = check(record(*boxes), allowed=allowed)
    assert [finding.kind for finding in found] == kinds
    if found:
        assert found[0].severity == "error"
        assert found[0].reason.startswith(
            "7 of 12 boxes leave their image: are they of images of another size"
        )


def test_corners_in_a_format_of_centres():
    """`0.1 0.1 0.9 0.9` of two corners, read as a centre and a size."""
    written = [(0.1, 0.1, 0.9, 0.9), (0.6, 0.7, 0.8, 0.9), (0.2, 0.1, 0.7, 0.6)]
    boxes = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in written]
    (found,) = check(record(*boxes, frame=FRACTIONS))
    assert (found.kind, found.severity) == ("box_corners", "error")
    assert found.reason.endswith("this format gives the centre and width and height")


def test_equal_boxes_are_left_out_and_counted():
    one = record((1, 1, 9, 9), (1.0001, 1, 9, 9), (1, 1, 9, 8), (1, 1, 9, 9))
    kept, (found,) = drop_equal_boxes([one, record((1, 1, 9, 9))])
    assert [len(r.boxes) for r in kept] == [2, 1]
    assert (found.kind, found.severity, found.where) == ("equal_boxes", "warning", "a.json:annotations[1]")
    assert found.reason == "2 boxes stand there a second time, and are left out (the first: 'cat' in a.png)"


def test_a_crowd_and_another_class_are_no_second_time():
    edges = (1.0, 1.0, 9.0, 9.0)
    boxes = (Box(*edges, label="cat"), Box(*edges, label="cat", crowd=True), Box(*edges, label="dog", line=7))
    (kept,), (found,) = drop_equal_boxes([Record("a.png", "a.png", boxes=boxes, source="a.xml:1")])
    assert kept.boxes == boxes
    assert (found.kind, found.where) == ("conflicting_boxes", "a.xml:7")


def with_area(box, area):
    return replace(Box(*box, label="cat"), area=area)


def test_corners_that_fit_as_sizes_are_told_by_their_areas():
    """Two corners in the upper left quarter: read as a corner and a size they stay inside."""
    corners = [(2, 3, 12, 15), (4, 1, 20, 9), (0, 0, 9, 9), (5, 6, 25, 16)]
    as_sizes = [(x, y, x + right, y + bottom) for x, y, right, bottom in corners]
    areas = [(right - x) * (bottom - y) for x, y, right, bottom in corners]
    notes = tuple(map(with_area, as_sizes, areas))
    (found,) = check(replace(record(), boxes=notes))
    assert (found.kind, found.severity) == ("box_corners", "error")
    assert found.reason.startswith("3 of 4 boxes have the `area` of two corners")


@pytest.mark.parametrize("share", [1.0, 0.6, 0.31])
def test_areas_of_boxes_or_of_what_is_in_them_are_right(share):
    boxes = [(2, 3, 14, 18), (4, 1, 24, 10), (5, 6, 30, 22)]
    notes = tuple(with_area(b, share * (b[2] - b[0]) * (b[3] - b[1])) for b in boxes)
    assert not check(replace(record(), boxes=notes))


@pytest.mark.parametrize(("whole", "kinds"), [(3, ["whole_image"]), (2, [])])
def test_many_boxes_of_a_whole_image(whole, kinds):
    found = check(record(*[(0, 0, 64, 47.9)] * whole, *[(3, 3, 40, 30)] * (10 - whole)))
    assert [(f.kind, f.severity) for f in found] == [(kind, "warning") for kind in kinds]
    assert not check(record(*[(0, 0, 64, 48)] * 9))  # too few to say anything


def test_whole_images_as_fractions():
    (found,) = check(record(*[(0, 0, 1, 1)] * 10, frame=FRACTIONS, source="a.txt:1"))
    assert found.reason.startswith("10 of 10 boxes are their whole image (the first: 'cat' in a.png)")


def drawn(count=40, seed=0):
    """Boxes all over the image, as left, top, width and height."""
    rng = random.Random(seed)
    for _ in range(count):
        width, height = rng.uniform(4, 20), rng.uniform(4, 16)
        yield rng.uniform(0, 64 - width), rng.uniform(0, 48 - height), width, height


def edges(x, y, width, height):
    return x, y, x + width, y + height


def test_boxes_all_over_the_image_are_no_corners_and_no_centres():
    for seed in range(20):
        assert not check(record(*[edges(*box) for box in drawn(seed=seed)]))
        as_shares = [(x / 64, y / 48, (x + w) / 64, (y + h) / 48) for x, y, w, h in drawn(seed=seed)]
        assert not check(record(*as_shares, frame=FRACTIONS, source="a.txt:1"))


def test_corners_that_fit_as_sizes_are_told_by_the_whole_set():
    """Small objects in the upper left half: two corners, read as a corner and a size, stay inside."""
    small = [(x / 2, y / 2, w / 3, h / 3) for x, y, w, h in drawn()]
    corners = [edges(*box) for box in small]
    (found,) = check(record(*[edges(*box) for box in corners]))
    assert (found.kind, found.severity) == ("box_corners", "warning")
    assert found.reason.startswith("all 40 boxes fit as two corners, too")
    areas = [with_area(edges(*box), box[2] * box[3]) for box in corners]
    assert not check(replace(record(), boxes=tuple(areas)))  # which say that they are sizes


def test_large_objects_in_the_middle_are_no_corners():
    rng = random.Random(1)
    sides = [(rng.uniform(30, 60), rng.uniform(24, 44)) for _ in range(40)]
    jitter = [rng.uniform(-2, 2) for _ in sides]
    boxes = [((64 - w) / 2 + j, (48 - h) / 2 + j, w, h) for (w, h), j in zip(sides, jitter, strict=True)]
    assert not check(record(*[edges(*box) for box in boxes]))


def test_a_centre_where_a_corner_is_expected():
    read = [edges(x + w / 2, y + h / 2, w, h) for x, y, w, h in drawn()]
    (found,) = check(record(*read))
    assert (found.kind, found.severity) == ("box_centres", "error")
    assert found.reason.endswith(
        "boxes leave their image, all to the same side, and fit as the centre and width and height: "
        "this format gives a corner and width and height"
    )


def test_a_corner_where_a_centre_is_expected():
    shares = [(x / 64, y / 48, w / 64, h / 48) for x, y, w, h in drawn()]
    read = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in shares]
    (found,) = check(record(*read, frame=FRACTIONS, source="a.txt:1"))
    assert (found.kind, found.severity) == ("box_centres", "error")
    assert found.reason.endswith("this format gives the centre and width and height")


def test_boxes_that_leave_to_both_sides_are_slips():
    boxes = [edges(x + w / 2, y + h / 2, w, h) for x, y, w, h in drawn()]
    assert not check(record(*boxes, (-3, 5, 9, 9)))
    assert not check(record(*boxes, (0, 5, 9, 9)))  # which no centre is so near to the edge


def test_boxes_of_a_smaller_image_or_in_percent():
    percent = [edges(*(v * 0.4 for v in box)) for box in drawn()]
    (found,) = check(record(*percent))
    assert (found.kind, found.severity) == ("upper_left", "warning")
    assert "no box of 40 reaches beyond 40% of the width and 40% of the height" in found.reason
    assert not check(record(*percent[:19]))
