"""Text as it may leave the program: without control characters, credentials, formulas or endless lines."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

from transferflow.limits import MAX_LINE

BLANK = "***"
_LONGEST_ADDRESS = 20_000
_UNUSUAL = re.compile(r"[^\n\t\x20-\x7e]")
_UNUSUAL_IN_A_LINE = re.compile(r"[^\x20-\x7e]")
_NOT_SHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control, format (turned writing, zero widths), half, private and unassigned characters, line separators."""
_ADDRESS = re.compile(r"(https?)?://[^\s\"'<>]+")
_PORT = re.compile(r"\d*([/?#]|$)")
_TOKEN = re.compile(
    r"""([?&\#](?:[\w.%-]{0,64}(?:token|secret|signature|passw(?:or)?d|credentials?|api[_-]?key
    |access[_-]?key(?:[_-]?id)?)|sig|key|auth|pwd)=)[^&\#\s"'<>]+""",
    re.IGNORECASE | re.VERBOSE,
)
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the start of a formula; the last four are the same in full width."""
Cell = str | int | float | None


def printable(text: str, limit: int | None = None) -> str:
    """Text of any origin for a terminal, a log or a page.

    Control and invisible characters become escapes, but for new lines and tabs, so that nothing in a file
    can steer a terminal; credentials in addresses become `***`.

    Args:
        text: The text.
        limit: Characters to keep, before the escapes are put in; `None` keeps all.
    """
    return _UNUSUAL.sub(_escaped, _cut_blanked(text, limit))


def counted(number: int, one: str, many: str = "") -> str:
    """A number with what it counts: `1 image`, `2,000 images`; `many` where an `s` is not enough."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def four_digits(value: float) -> str:
    """A measured value of any unit: four decimals, or four digits where they would be mostly zeros."""
    return f"{value:.4g}" if 0 < abs(value) < 0.01 else f"{value:.4f}"


def describe_seconds(seconds: float | None) -> str:
    """A time span for a person; empty where it is not known."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def one_line(value: object, limit: int = MAX_LINE) -> str:
    """The same for a place of one line: new lines and tabs are escaped too, and what is too long is cut."""
    return _UNUSUAL_IN_A_LINE.sub(_escaped, _cut_blanked(str(value), limit))


def _cut_blanked(text: str, limit: int | None) -> str:
    """Cut, after credentials are blanked: of a password that is cut in two nobody sees the `@`."""
    if limit is None:
        return without_secrets(text)
    blanked = without_secrets(text[: limit + _LONGEST_ADDRESS])
    return blanked if len(blanked) <= limit else f"{blanked[: limit - 1]}…"


def _escaped(match: re.Match[str]) -> str:
    return _shown(match[0])


@cache
def _shown(character: str) -> str:
    if unicodedata.category(character) not in _NOT_SHOWN:
        return character
    return character.encode("unicode_escape").decode("ascii")


def without_secrets(text: str) -> str:
    """Blank the user and password of every address, and what looks like a token in a query, with `***`."""
    if "://" in text and "@" in text:
        text = _ADDRESS.sub(lambda found: _without_users(found[0]), text)
    return _TOKEN.sub(rf"\1{BLANK}", text) if "=" in text else text


def holds_secret(text: str) -> bool:
    """Whether the text is or holds an address with a user, a password or a token in it."""
    return "://" in text and without_secrets(text) != text


def _without_users(address: str) -> str:
    scheme, *parts = address.split("://")
    shown = [scheme]
    for part in parts:
        at = _end_of_user(part, scheme)
        shown.append(f"{BLANK}{part[at:]}" if at else part)
        scheme = part
    return "://".join(shown)


def _end_of_user(rest: str, scheme: str) -> int:
    """Length of the user and password that stand before the host; 0 if there are none.

    What opens databases takes passwords with `/`, `?` and `#` in them, which end the host elsewhere.
    """
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in host:
        return host.rindex("@")
    user, colon, after = rest.partition(":")
    is_port = scheme.endswith(("http", "https")) and _PORT.match(after)
    return rest.rfind("@") if colon and user == host.partition(":")[0] and not is_port and "@" in after else 0


def to_csv(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Rows as CSV that is safe to open in a spreadsheet and to print.

    Numbers stay numbers. A text that a spreadsheet would take for a formula gets a `'` before it; control
    characters, new lines among them, become escapes.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_cell(name) for name in header])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return stream.getvalue()


def _cell(value: Cell) -> Cell:
    if not isinstance(value, str):
        return value
    text = _UNUSUAL_IN_A_LINE.sub(_escaped, value)
    # Spreadsheets skip blanks before a formula.
    is_formula = value.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(value)
    return f"'{text}" if is_formula else text
