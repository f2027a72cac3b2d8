"""Class names, of which two that no reader can tell apart are one."""

from __future__ import annotations

import unicodedata

from transferflow.limits import MAX_LABEL

_INVISIBLE = dict.fromkeys((0x200B, 0x2060, 0xFEFF, 0x00AD, 0x200E, 0x200F, *range(0x202A, 0x202F)))
"""Characters without a glyph: zero-width space and the like, soft hyphen, marks of direction."""
_UNSEEN = _INVISIBLE | {0x00A0: " "}
"""A blank at which no line is broken looks like any other."""
_QUOTES = "\"'`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a"
_TWINS = str.maketrans(
    "\u0410\u0412\u0415\u0405\u0406\u0408\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425"
    "\u0430\u0435\u0455\u0456\u0458\u043e\u0440\u0441\u0443\u0445\u04bb\u0501\u051b\u051d"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7"
    "\u03bf\u03bd\u03f3",
    "ABESIJKMHOPCTYXaesijopcyxhdqwABEZHIKMNOPTYXovj",
)
"""Letters of Cyrillic and Greek that have the shape of a Latin one (Unicode Technical Standard 39)."""
_JOINERS = "\u200c\u200d"
"""Invisible too, but they shape the letters of some scripts; at the ends they do nothing."""


def plain_name(text: str) -> str:
    """A name as it is compared: composed (NFC), without blanks at its ends and invisible characters.

    `é` can be one character or two (`e` and an accent), as macOS writes it in file names. A blank at which no
    line is broken is a blank.
    """
    seen = text.translate(_UNSEEN)
    # Marks out of their order are sorted one by one: a page of them would take minutes, and is no name.
    composed = unicodedata.normalize("NFC", seen) if len(seen) <= MAX_LABEL else seen
    return composed.strip().strip(_JOINERS).strip()


def alike_key(name: str) -> str:
    """What names have in common that differ in case, blanks or width of their letters alone."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def look_key(name: str) -> str:
    """What names have in common that a reader takes for one: alike, quoted or not, in any alphabet."""
    return alike_key(unquoted(name).translate(_TWINS))


def unquoted(name: str) -> str:
    """A name without the quotation marks around it, where both are there."""
    text = name.strip()
    return text[1:-1].strip() if len(text) > 2 and text[0] in _QUOTES and text[-1] in _QUOTES else text
