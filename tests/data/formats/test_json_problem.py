from __future__ import annotations

import json

import pytest

from transferflow.data.formats.json_problem import json_problem


@pytest.mark.parametrize(
    ("text", "what", "at"),
    [
        ('{"a": [1, 2,\n ]}', "a comma stands before the closing ']'", 11),
        ('{"a": 1, }', "a comma stands before the closing '}'", 7),
        ('{"a": [1, 2', "cut off", 11),
        ('{"a": "b', "cut off", 6),
        ("", "the file is empty", 0),
        ("  \n", "the file is empty", 0),
        ('{"a": 1}\n{"a": 2}', "not one per line", 9),
        ("{'a': 1}", "single quotes", 1),
        ('{"a": True}', "True is Python", 6),
        ('{"a": 1 // one\n}', "it has a comment", 8),
        ('{"a": 1 "b": 2}', "Expecting ',' delimiter", 8),
        ("<html>", "Expecting value", 0),
    ],
)
def test_what_is_wrong_and_where(text, what, at):
    with pytest.raises(json.JSONDecodeError) as raised:
        json.loads(text)
    said, place = json_problem(raised.value)
    assert what in said
    assert place == at
