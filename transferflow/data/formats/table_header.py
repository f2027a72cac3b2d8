"""Why a table's header is not the one that was looked for, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from transferflow.data.files.paths import IMAGE_SUFFIXES
from transferflow.spec.wording import did_you_mean

_PATHS = (
    *("image", "images", "img", "imageid", "imagefile", "imagename", "imagepath", "imgpath", "id"),
    *("file", "files", "filename", "filenames", "filepath"),
)
_LABELS = (
    *("class", "classes", "classname", "labels", "labelname", "category", "target", "targets", "y"),
    *("diagnosis", "species", "tag"),
)
_OTHER_NAMES: Mapping[str, frozenset[str]] = {"path": frozenset(_PATHS), "label": frozenset(_LABELS)}
"""Column of the spec, and what other tables call it."""
_ZIP = "PK\x03\x04"
_NO_NAMES = "put a first line with the names of the columns, such as path,label"


def missing_column_hint(column: str, key: str, header: Sequence[str]) -> str:
    """What to do about a column that a table lacks.

    Args:
        column: The column.
        key: Key of the spec that names it.
        header: The columns that there are.
    """
    first = header[0] if header else ""
    if first.startswith(_ZIP):
        return "this is an Excel workbook: save it as CSV, and name that file"
    if first.startswith("#"):
        return "the first line is a comment: the names of the columns have to come first"
    if len(header) == 1 and "|" in first:
        return "columns are separated by commas, semicolons or tabs, not by `|`"
    if len(header) == 1 and len(first.split()) > 1:
        return "columns are separated by commas, semicolons or tabs, not by blanks"
    if any(PurePosixPath(cell).suffix.lower() in IMAGE_SUFFIXES for cell in header):
        return _NO_NAMES
    near = did_you_mean(column, header)
    if near:
        return near
    found = {name: other for name in _OTHER_NAMES if (other := _other_name(name, header))}
    if key.removeprefix("data.columns.") in found:
        names = ", ".join(f"{name}: {other}" for name, other in found.items())
        return f"put `columns: {{{names}}}` into `data`"
    if key == "data.columns.label":
        return f"labels stand in one column, which {key} names; several of an image are separated by `|`"
    return f"name the right column under {key}"


def _other_name(name: str, header: Sequence[str]) -> str:
    if name in header:
        return ""
    plain = {"".join(c for c in cell.lower() if c.isalnum()): cell for cell in header}
    return next((cell for word, cell in plain.items() if word in _OTHER_NAMES[name]), "")
