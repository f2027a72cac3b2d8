"""Why a text is not JSON, in words for whoever wrote it by hand or with a script."""

from __future__ import annotations

import json
import re

_BEFORE = re.compile(r",\s*$")
_PYTHON = re.compile(r"True|False|None")
_NEAR = 200
"""Characters before the place that are looked at."""


def json_problem(error: json.JSONDecodeError) -> tuple[str, int]:
    """What is wrong, and the offset of it.

    Args:
        error: What the parser raised, with the text.
    """
    text, at = error.doc, error.pos
    if not text.strip():
        return "the file is empty", 0
    if at >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return "the file ends in the middle: it was cut off, or not written to its end", at
    comma = _BEFORE.search(text, max(0, at - _NEAR), at)
    found = text[at]
    if comma and found in "]}":
        return (
            f"a comma stands before the closing {found!r}: JSON has none after the last entry",
            comma.start(),
        )
    if error.msg == "Extra data":
        return "something follows its end: one JSON object is expected, not one per line", at
    if found == "'":
        return "text stands in single quotes: JSON has double ones (a printed Python dict is no JSON)", at
    if found in "/#":
        return "it has a comment: JSON has none", at
    if word := _PYTHON.match(text, at):
        return f"{word[0]} is Python: JSON has true, false and null", at
    return error.msg, at
