from __future__ import annotations

from types import SimpleNamespace

import pytest

from transferflow.cli.predictions_view import csv_text


@pytest.fixture
def detector():
    return SimpleNamespace(spec=SimpleNamespace(task=SimpleNamespace(kind="detection")))


def test_a_csv_without_boxes_has_the_header_of_one_with_boxes(detector):
    box = {"image": "a.png", "label": "x", "score": 0.5, "x_min": 0, "y_min": 0, "x_max": 1, "y_max": 1}
    header, *rows = csv_text(detector, [box]).splitlines()
    assert rows == ["a.png,x,0.5,0,0,1,1"]
    assert csv_text(detector, []).splitlines() == [header]


def test_names_in_a_csv_are_no_formulas():
    classifier = SimpleNamespace(spec=SimpleNamespace(task=SimpleNamespace(kind="classification")))
    row = {"image": "=1+1.png", "labels": ["@x"], "score": 0.5, "probabilities": {"@x": 0.5}}
    assert csv_text(classifier, [row]).splitlines()[1] == "'=1+1.png,'@x,0.5,0.500000"
