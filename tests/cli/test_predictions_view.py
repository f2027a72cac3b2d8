from __future__ import annotations

from transferflow.cli.predictions_view import csv_text
from transferflow.tasks.output.boxes import BoxOutput


def test_a_csv_without_boxes_has_the_header_of_one_with_boxes():
    columns = BoxOutput(nms_threshold=0.5).columns
    box = {"image": "a.png", "label": "x", "score": 0.5, "x_min": 0, "y_min": 0, "x_max": 1, "y_max": 1}
    header, *rows = csv_text(columns, [box]).splitlines()
    assert rows == ["a.png,x,0.5,0,0,1,1"]
    assert csv_text(columns, []).splitlines() == [header]


def test_names_in_a_csv_are_no_formulas():
    row = {"image": "=1+1.png", "labels": ["@x"], "score": 0.5, "probabilities": {"@x": 0.5}}
    assert csv_text(("image",), [row]).splitlines()[1] == "'=1+1.png,'@x,0.5,0.500000"
