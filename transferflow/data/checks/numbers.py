"""Checks of the numbers that a regression learns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from transferflow.data.records import Finding, Severity

_NINES = re.compile(r"-?99+(\.0+)?|-?99+\.9+")
_CODES = frozenset({-32768.0, 32767.0, 65535.0, -2147483648.0, 2147483647.0})
"""The ends of whole numbers of 16 and 32 bits."""
_BULK = 0.01
"""Share of the images above which one odd number is no slip."""
_LEAST = 3
_FAR = 1000
"""Spans of the middle half that even a lognormal measure does not reach."""
_LEAST_FAR = 20
_VARIED = 10
"""Different numbers above which what is learned is a measure, not a few steps such as -1, 0, 1."""


def check_numbers(labelled: Iterable[tuple[str, Sequence[str]]]) -> Iterator[Finding]:
    """Find numbers that do not differ, and those that stand for "not known".

    Args:
        labelled: Place and number of each image, as text.
    """
    first: dict[float, str] = {}
    counts: Counter[float] = Counter()
    for place, labels in labelled:
        for number in map(float, labels):
            counts[number] += 1
            first.setdefault(number, place)
    if len(counts) == 1:
        reason = f"every image has the number {next(iter(counts)):g}: there is nothing to learn"
        yield Finding("one_number", "error", "data.columns.label", reason)
    codes = _stand_ins(counts)
    for number in codes:
        share = counts[number] / counts.total()
        severity: Severity = "error" if number != -1 and share > _BULK else "warning"
        others = [other for other in counts if other != number]
        reason = (
            f"the number {number:g} is that of {counts[number]} of {counts.total()} images, and lies beyond "
            f'the others ({min(others):g} to {max(others):g}): if it stands for "not known", take these '
            "rows out"
        )
        yield Finding("number_code", severity, first[number], reason)
    yield from _check_far(counts, frozenset(codes), first)


def _check_far(
    counts: Counter[float], codes: frozenset[float], first: Mapping[float, str]
) -> Iterator[Finding]:
    """Few numbers that no measure of the kind has, and no codes: slips, or another unit."""
    total = counts.total()
    if total < _LEAST_FAR:
        return
    numbers = sorted(counts.elements())
    low, middle, high = (numbers[total * part // 4] for part in (1, 2, 3))
    far = [n for n in counts if abs(n - middle) > _FAR * (high - low) and n not in codes]
    if low == high or not far:
        return
    worst = max(far, key=lambda number: abs(number - middle))
    reason = (
        f"{sum(counts[n] for n in far)} of {total} numbers, such as {worst:g}, are further from the others "
        f"than a thousand times what the middle half of all spans ({low:g} to {high:g}): a slip, or another "
        "unit?"
    )
    yield Finding("number_far", "warning", first[worst], reason)


def _stand_ins(counts: Mapping[float, int]) -> list[float]:
    """Numbers that tables write where nothing was measured, and that lie where no measure does.

    That is 99, -999, 9999 or the end of a type further from all others than those are from each other; or
    -1 as the only number below 0, in bulk, among many different ones.
    """
    codes = [number for number in counts if number in _CODES or _NINES.fullmatch(repr(number))]
    rest = sorted(set(counts) - set(codes) - {-1.0})
    if len(rest) < _LEAST:
        return []
    low, high = rest[0], rest[-1]
    found = [code for code in codes if max(code - high, low - code) > high - low]
    bulk = max(_LEAST, _BULK * sum(counts.values()))
    if low >= 0 and len(rest) > _VARIED and counts.get(-1.0, 0) >= bulk:
        found.append(-1.0)
    return sorted(found)
