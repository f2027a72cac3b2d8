"""What the values in masks mean: said by the spec, or told by the values where the spec leaves it open."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from transferflow.data.records import MaskCoding
from transferflow.spec.sections.data import Data, MaskFolderData
from transferflow.spec.sections.truth import MaskTruth

_BEHIND = frozenset({"background", "bg"})
_WHITE = (255, 65_535)
"""White in 8 and 16 bits: what most tools write for the second of two classes."""


def index_coding(classes: Sequence[str], ignored: int) -> MaskCoding:
    """A value is the place of its class in the list."""
    return MaskCoding(dict(enumerate(classes)), frozenset({ignored}), ignored)


def build_coding(data: Data, truth: MaskTruth, classes: Sequence[str]) -> MaskCoding:
    """What the spec says, before a mask is opened."""
    if not isinstance(data, MaskFolderData) or data.colours is None:
        return index_coding(classes, truth.ignored_value)
    values = {pack_colour(colour): name for name, colour in data.colours.items()}
    void = frozenset(map(pack_colour, data.void_colours))
    return MaskCoding(values, void, truth.ignored_value, colours=True)


def decide_coding(
    asked: MaskCoding, truth: MaskTruth, classes: Sequence[str], found: Collection[int]
) -> MaskCoding:
    """Decide what the values mean once all of them are known.

    Two classes and no values but 0 and white: white is the second class, unless the spec says that it does
    not count, or names the background there.

    Args:
        asked: What the spec says.
        truth: What the masks hold, as the spec says.
        classes: Class names in order.
        found: Every value that a mask holds.
    """
    white = [value for value in found if value in _WHITE]
    if asked.colours or len(classes) != 2 or len(white) != 1 or set(found) - {0, *white}:
        return asked
    if truth.ignore_index in white or classes[1].strip("_").casefold() in _BEHIND:
        return asked
    return MaskCoding({0: classes[0], white[0]: classes[1]}, frozenset(), truth.ignored_value)


def pack_colour(colour: tuple[int, int, int]) -> int:
    """0xRRGGBB."""
    red, green, blue = colour
    return red << 16 | green << 8 | blue


def show_colour(packed: int) -> str:
    """A packed colour as specs write it."""
    return f"[{packed >> 16}, {packed >> 8 & 255}, {packed & 255}]"


def load_coding(stored: Mapping[str, Any] | None) -> MaskCoding | None:
    """Read what `store_coding` gave.

    Raises:
        ValueError, KeyError, TypeError: If it is something else.
    """
    if stored is None:
        return None
    return MaskCoding(
        values={int(value): str(name) for value, name in stored["values"].items()},
        void=frozenset(int(value) for value in stored["void"]),
        ignored=int(stored["ignored"]),
        colours=bool(stored["colours"]),
    )


def store_coding(coding: MaskCoding | None) -> dict[str, Any] | None:
    """A coding as JSON data."""
    if coding is None:
        return None
    return {
        "values": {str(value): coding.values[value] for value in sorted(coding.values)},
        "void": sorted(coding.void),
        "ignored": coding.ignored,
        "colours": coding.colours,
    }
