"""Meaning of a plain (unquoted) YAML scalar: YAML 1.2's core schema, made safe for class labels.

| Spelling | Read as |
|---|---|
| `null`, `~`, nothing at all | null |
| `true`, `false` (also `True`, `TRUE`, …) | boolean |
| `no`, `yes`, `on`, `off`, `y`, `n` | text (YAML 1.1 reads booleans) |
| `12`, `-3`, `0x1F`, `0o17` | whole number |
| `1e-4`, `1E3`, `.5`, `3.` | number (YAML 1.1 reads the first two as text) |
| `010`, `007` | text: an id or a label more often than a number |
| `1_000`, `1:30`, `2024-01-01`, `inf`, `nan` | text |
| `.inf`, `.nan` | refused: no setting can be infinite |
"""

from __future__ import annotations

import math
import re

from transferflow.limits import MAX_DIGITS

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUES = frozenset({"true", "True", "TRUE"})
_FALSES = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_OTHER_BASE = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


_MOST_BITS = 1_000
"""Of a whole number, which may have to become a floating-point number: those end at 1,024."""


class ScalarError(ValueError):
    """A number that can't be used."""


def resolve_scalar(raw: str) -> bool | int | float | str | None:
    """Value of a plain scalar.

    Raises:
        ScalarError: It is a number too large to compute with, infinite, or not a number.
    """
    if raw in _NULLS:
        return None
    if raw in _TRUES:
        return True
    if raw in _FALSES:
        return False
    if _NOT_FINITE.fullmatch(raw):
        raise ScalarError("a number must be finite")
    is_integer = _INTEGER.fullmatch(raw) or _OTHER_BASE.fullmatch(raw)
    if not is_integer and not _FLOAT.fullmatch(raw):
        return raw
    if len(raw) > MAX_DIGITS:
        raise ScalarError("the number has too many digits")
    if is_integer:
        whole = int(raw, 0)
        if whole.bit_length() > _MOST_BITS:
            raise ScalarError("the number is too large")
        return whole
    value = float(raw)
    if math.isinf(value):
        raise ScalarError("the number is too large")
    return value
