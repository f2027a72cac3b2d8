"""Types and near misses in words."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Any

from transferflow.limits import MAX_SUGGESTED

_TYPES: dict[object, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
}
_SANITY_LIMIT = 1_000_000_000
_BOUNDS = (("gt", "above"), ("ge", "at least"), ("lt", "below"), ("le", "at most"))


def describe_scalar(annotation: object, metadata: Iterable[object]) -> str:
    """Describe a scalar type with its constraints, as in `a number, at least 0, at most 1`."""
    bounds: dict[str, Any] = {}
    notes: list[str] = []
    for item in metadata:
        for name, _ in _BOUNDS:
            value = getattr(item, name, None)
            if value is not None:
                bounds[name] = value
        pattern = getattr(item, "pattern", None)
        if pattern:
            notes.append(f"of the form {pattern}")
        if isinstance(item, Words):
            return item.text
    _drop_weaker(bounds, "gt", "ge")
    _drop_weaker(bounds, "lt", "le")
    # A limit of a billion only keeps numbers sane: nobody asks for it.
    limits = [
        f"{word} {_number(bounds[name])}"
        for name, word in _BOUNDS
        if name in bounds and bounds[name] < _SANITY_LIMIT
    ]
    return ", ".join([_TYPES.get(annotation, "any value"), *limits, *notes])


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _drop_weaker(bounds: dict[str, Any], strict: str, weak: str) -> None:
    if strict in bounds and weak in bounds:
        # An `above 0` next to an `at least 0` says it all; of different limits the tighter one holds.
        tighter = bounds[strict] >= bounds[weak] if strict == "gt" else bounds[strict] <= bounds[weak]
        del bounds[weak if tighter else strict]


class Words:
    """Metadata of a type: says in words what is allowed, where the constraints alone would not."""

    def __init__(self, text: str) -> None:
        self.text = text


def in_words(start: str, rest: str) -> str:
    """Join two parts, as `one of: a, b`."""
    return f"{start}: {rest}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean "lr"?`, or nothing when nothing is near, or a long word or list would take long."""
    if len(word) > MAX_SUGGESTED:
        return ""
    by_folded = {name.lower().replace("-", "_"): name for name in islice(known, MAX_SUGGESTED)}
    near = get_close_matches(word.lower().replace("-", "_"), by_folded, n=1, cutoff=0.6)
    return f"did you mean `{by_folded[near[0]]}`?" if near else ""
