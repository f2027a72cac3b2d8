"""Checks of labels: against the class list, against each other, and for what only looks like a name."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from transferflow.data.checks.numbers import check_numbers
from transferflow.data.records import Finding, Severity
from transferflow.spec.class_names import alike_key, look_key, plain_name, unquoted
from transferflow.spec.sections.truth import LabelTruth, MaskTruth, Truth
from transferflow.spec.wording import did_you_mean
from transferflow.text import counted

SUGGESTED = 100
"""Findings for which a near name is looked for; nobody reads so many."""
_DECIMAL = re.compile(r"[-+]?\d*\.\d+")
_MANY_NUMBERS = 10
_WHOLE = re.compile(r"(?P<sign>-?)0*(?P<digits>[0-9]+)(\.0+)?")
_MISSING = frozenset({"nan", "null", "nat", "n/a", "#n/a", "<na>", "-", "--", "?", "#value!", "#ref!"})
_TRUTH = {"true": "1", "false": "0"}
_SEPARATORS = "|;,"
"""What stands between several labels in one cell."""


def check_names(
    truth: Truth, classes: Sequence[str], labelled: Iterable[tuple[str, Sequence[str]]]
) -> Iterator[Finding]:
    """Check labels against the class list, and against each other.

    Args:
        truth: What is learned: labels, boxes or masks.
        classes: Class names in order.
        labelled: Place and labels of each image.
    """
    if truth.is_number:
        yield from check_numbers(labelled)
        return
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for place, labels in labelled:
        for label in labels:
            counts[label] += 1
            first.setdefault(label, place)
    yield from _unknown(classes, counts, first)
    yield from _similar(counts, first)
    if isinstance(truth, LabelTruth):
        yield from _joined(truth, counts, first)
    for label in sorted(counts):
        if label.casefold() in _MISSING:
            times = counted(counts[label], "time")
            reason = f"the label {label!r} ({times}) is a class, and reads like a missing value"
            yield Finding("missing_word", "warning", first[label], reason)
    measured = [label for label in counts if _DECIMAL.fullmatch(label)]
    if isinstance(truth, LabelTruth) and len(measured) > _MANY_NUMBERS and len(measured) > len(counts) / 2:
        reason = (
            f"{len(measured)} of {len(counts)} labels are numbers with decimals, such as {measured[0]!r}: "
            "`task: {kind: regression}` learns a number; classes have few names"
        )
        yield Finding("numeric_labels", "error", first[measured[0]], reason)
    if len(set(classes)) == 1 and _is_exclusive(truth):
        reason = f"there is one class alone, which every image and pixel would be of: {short(classes)}"
        yield Finding("one_class", "error", "data.classes", reason)


def check_groups(groups: Iterable[tuple[str, str | None]]) -> Iterator[Finding]:
    """Find groups that are one to a reader, and two to the split: their images may stand on both sides of it.

    Args:
        groups: Place and group of each image.
    """
    first: dict[str, str] = {}
    for place, group in groups:
        if group is not None:
            first.setdefault(group, place)
    alike = defaultdict(list)
    for group in first:
        alike[alike_key(_decimal_free(group))].append(group)
    for same in (groups for groups in alike.values() if len(groups) > 1):
        shown = ", ".join(map(repr, same))
        is_one = len(set(map(_decimal_free, same))) == 1
        what = "are one number" if is_one else "differ in case, blanks or width alone"
        reason = f"groups that {what}, and are split apart: {shown}; if they are one, write them alike"
        yield Finding("similar_groups", "error" if is_one else "warning", first[same[1]], reason)


def _decimal_free(name: str) -> str:
    """A whole number without decimals of zero; zeros in front stay, as they may tell ids apart."""
    return name.partition(".")[0] if _number(name) else name


def short(names: Sequence[str]) -> str:
    """The first of many names."""
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")


def _unknown(
    classes: Sequence[str], counts: Mapping[str, int], first: Mapping[str, str]
) -> Iterator[Finding]:
    looks = {look_key(name): name for name in classes}
    for number, label in enumerate(sorted(set(counts) - set(classes))):
        reason = (
            f"label {label!r} is not among the classes ({counted(counts[label], 'time')}): {short(classes)}"
        )
        near = did_you_mean(label, classes) if number < SUGGESTED else ""
        twin = looks.get(look_key(label))
        if twin is not None and not label.isascii() and alike_key(label) != alike_key(twin):
            near = f"it looks like {twin!r}, and has other letters: {label!a}"
        yield Finding("unknown_label", "error", first[label], f"{reason}; {near}" if near else reason)


def _similar(counts: Mapping[str, int], first: Mapping[str, str]) -> Iterator[Finding]:
    """Labels that are one to a reader, and two to a program."""
    alike = defaultdict(list)
    for label in sorted(counts):
        plain = _TRUTH.get(label.casefold()) or _number(label) or label
        alike[look_key(plain)].append(label)
    for same in (labels for labels in alike.values() if len(labels) > 1):
        severity, what = _likeness(same)
        shown = ", ".join(f"{label!r} ({counts[label]})" for label in same)
        yield Finding("similar_labels", severity, first[same[0]], f"labels that {what}: {shown}")


def _likeness(same: Sequence[str]) -> tuple[Severity, str]:
    """How bad it is, and what the labels have in common."""
    if all(map(_number, same)):
        if len({label.partition(".")[0] for label in same}) < len(same):
            return "error", "are one number"  # 1 and 1.0, as tables write the same column
        return "warning", "are one number but for zeros in front"
    words = {alike_key(label) for label in same}
    if len(words) > 1 and words & _TRUTH.keys():
        return "warning", "are one value, as a number and as a word"
    if len(words) == 1:
        return "warning", "differ in case, blanks or width alone"
    if len({alike_key(unquoted(label)) for label in same}) == 1:
        return "warning", "differ in quotation marks alone"
    odd = next(label for label in same if not label.isascii())
    return "warning", f"look alike and have letters of different alphabets (one of them is {odd!a})"


def _number(label: str) -> str | None:
    """The whole number that a label is, with or without decimals of zero: tables write both."""
    return f"{match['sign']}{match['digits']}" if (match := _WHOLE.fullmatch(label)) else None


def _joined(truth: LabelTruth, counts: Mapping[str, int], first: Mapping[str, str]) -> Iterator[Finding]:
    """Labels such as `a|b` beside `a` and `b`: several in one cell, which would be a class of their own."""
    for mark in _SEPARATORS + " " * truth.several:
        found = [label for label in counts if mark in label and _parts_known(label, mark, counts)]
        if not found:
            continue
        count = counted(len(found), "label is", "labels are")
        reason = f"{count} others in a row, such as {found[0]!r}, which would be a class"
        if truth.several:
            hint = f"set data.label_separator: {mark!r}"
        else:
            hint = f"several labels of an image take multilabel: true and data.label_separator: {mark!r}"
        yield Finding("joined_labels", "warning", first[found[0]], f"{reason}: {hint}")


def _parts_known(label: str, mark: str, known: Collection[str]) -> bool:
    parts = [plain_name(part) for part in label.split(mark)]
    return len(set(parts)) > 1 and all(part in known for part in parts)


def _is_exclusive(truth: Truth) -> bool:
    """Whether exactly one of the classes holds for an image, or for a pixel."""
    return isinstance(truth, MaskTruth) or truth == LabelTruth(several=False)
