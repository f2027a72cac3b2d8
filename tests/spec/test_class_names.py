from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from transferflow.spec.class_names import alike_key, plain_name
from transferflow.spec.sections.data import Data

COMPOSED, TAKEN_APART = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (TAKEN_APART, COMPOSED),
        ("bar\u200b", "bar"),
        ("\ufeffbar", "bar"),
        ("b\u00adar", "bar"),
        ("\u202abar\u202c", "bar"),
        (" bar\u00a0", "bar"),
        ("bar\u200d", "bar"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("no", "no"),
        ("007", "007"),
        ("\u200b", ""),
    ],
)
def test_plain_names(text, name):
    assert plain_name(text) == name


def test_alike_names():
    assert alike_key("\uff21  b") == alike_key("a B") != alike_key("ab")


def test_classes_and_colours_of_a_spec_are_plain():
    fields = {
        "format": "mask_folder",
        "root": "d",
        "encoding": "rgb",
        "classes": [TAKEN_APART, "b"],
        "colours": {COMPOSED: [0, 0, 0], "b\u200b": [1, 1, 1]},
    }
    data = TypeAdapter(Data).validate_python(fields)
    assert data.classes == (COMPOSED, "b")
    assert tuple(data.colours) == (COMPOSED, "b")


@pytest.mark.parametrize("classes", [[TAKEN_APART, COMPOSED], ["\u200b", "a"]])
def test_classes_that_no_reader_can_tell_apart(classes):
    with pytest.raises(ValueError, match=r"listed twice|at least 1 item"):
        TypeAdapter(Data).validate_python({"format": "image_folder", "root": "d", "classes": classes})
