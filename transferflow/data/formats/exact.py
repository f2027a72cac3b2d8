"""Values of another type than a format asks for: taken where they say exactly the same, else named.

Exporters write `"12"`, `12.0` and `"0"` for numbers, sizes and flags; none of them is counted as missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal

_FLAGS: Mapping[object, bool] = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True}
_LARGE = 2**63
_SHOWN = 60


class InexactError(ValueError):
    """The value does not say exactly what is asked for; the message is a clause: `is 'a', not a number`."""


def exact_number(value: object) -> float:
    """A finite number, also as text.

    Raises:
        InexactError: If it is none.
    """
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number) and abs(number) < 1e300:
            return number
    raise InexactError(f"is {show_value(value)}, not a number")


def exact_whole(value: object) -> int:
    """A whole number, also as text or with a fraction of zero.

    Raises:
        InexactError: If it is none.
    """
    try:
        number = exact_number(value)
    except InexactError:
        number = math.nan
    if not number.is_integer() or abs(number) >= _LARGE:
        raise InexactError(f"is {show_value(value)}, not a whole number")
    return int(value) if isinstance(value, int) else int(number)


def exact_id(value: object) -> int | str:
    """An id: `12`, `12.0` and `"12"` are one; `"012"` and other texts stay as they are.

    Raises:
        InexactError: If it is neither a whole number nor text.
    """
    if isinstance(value, str):
        is_plain = value.isascii() and value.removeprefix("-").isdecimal() and str(int(value[:20])) == value
        return int(value) if is_plain else value
    return exact_whole(value)


def exact_flag(value: object) -> bool:
    """Yes or no: 0 or 1, true or false, also as text.

    Raises:
        InexactError: If it is neither.
    """
    key = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(key, str | int | float) or key not in _FLAGS:
        raise InexactError(f"is {show_value(value)}, neither 0 nor 1")
    return _FLAGS[key]


def exact_text(value: object) -> str:
    """Text of one value: `1.0` and `1` are `1`; nothing and not-a-number are the empty text.

    Raises:
        InexactError: If it is a collection, bytes that are no UTF-8, or infinite.
    """
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return str(value).lower()
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise InexactError("is bytes that are no UTF-8 text") from None
        case float() | Decimal() if value != value:
            return ""
        case float() | Decimal() if abs(value) != math.inf:
            return str(int(value)) if value == int(value) else str(value)
        case list() | tuple() | dict() | set() | float() | Decimal():
            raise InexactError(f"is {show_value(value)}, not text")
        case _:
            return str(value)


def show_value(value: object) -> str:
    """A value of a file for a message, cut where it is long."""
    if value is None:
        return "null"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
