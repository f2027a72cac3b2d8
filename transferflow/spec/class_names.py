"""Class names, of which two that no reader can tell apart are one."""

from __future__ import annotations

import unicodedata

from transferflow.limits import MAX_LABEL

_INVISIBLE = dict.fromkeys((0x200B, 0x2060, 0xFEFF, 0x00AD, 0x200E, 0x200F, *range(0x202A, 0x202F)))
"""Characters without a glyph: zero-width space and the like, soft hyphen, marks of direction."""
_JOINERS = "\u200c\u200d"
"""Invisible too, but they shape the letters of some scripts; at the ends they do nothing."""


def plain_name(text: str) -> str:
    """A name as it is compared: composed (NFC), without blanks at its ends and invisible characters.

    `é` can be one character or two (`e` and an accent), as macOS writes it in file names.
    """
    seen = text.translate(_INVISIBLE)
    # Marks out of their order are sorted one by one: a page of them would take minutes, and is no name.
    composed = unicodedata.normalize("NFC", seen) if len(seen) <= MAX_LABEL else seen
    return composed.strip().strip(_JOINERS).strip()


def alike_key(name: str) -> str:
    """What names have in common that differ in case, blanks or width of their letters alone."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
