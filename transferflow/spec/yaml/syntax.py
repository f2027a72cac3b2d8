"""The YAML parser's own messages, with what to do about them."""

from __future__ import annotations

import yaml

from transferflow.errors import Problem
from transferflow.spec.yaml.tree import Place, shorten

_HINTS = {
    "mapping values are not allowed in this context": "a value that has `: ` in it needs quotes",
    "did not find expected key": "check the indentation here and in the line above",
    "could not find expected ':'": "a key needs `: ` behind it",
    "did not find expected ',' or '}'": "a `{` is not closed, or a comma is missing",
    "did not find expected ',' or ']'": "a `[` is not closed, or a comma is missing",
    "found character that cannot start any token": "a value that starts with `@` or `%` needs quotes",
}


def syntax_problem(error: yaml.MarkedYAMLError, text: str, place: Place) -> Problem:
    """Say what the parser stumbled over.

    Args:
        error: The parser's error.
        text: The document.
        place: Where the parser stopped.
    """
    lines = text.splitlines()
    line = lines[place.line - 1] if 0 < place.line <= len(lines) else ""
    what = error.problem or "a mistake"
    if "cannot start any token" in what and line[place.column - 1 :].startswith("\t"):
        hint = "indent with spaces"
        return Problem("a tab where YAML wants spaces", str(place), found=shorten(line.strip()), hint=hint)
    context = f" {error.context}" if error.context else ""
    if context and error.context_mark and error.context_mark.line + 1 != place.line:
        context += f" that starts in line {error.context_mark.line + 1}"
    found = shorten(line.strip())
    return Problem(f"is not YAML: {what}{context}", str(place), found=found, hint=_HINTS.get(what, ""))
