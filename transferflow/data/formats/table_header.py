"""Why a table's header is not the one that was looked for, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath

from transferflow.data.files.paths import IMAGE_SUFFIXES
from transferflow.data.formats.table_file import TableFile
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
_SET, _UNSET = frozenset({"1", "1.0", "true"}), frozenset({"", "0", "0.0", "false", "-1", "-1.0"})
"""A class is there; it is not, or nobody knows."""
_LEAST_FLAGS = 2
_LOOKED_AT = 1000
_SHOWN = 4
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


def one_hot_hint(table: TableFile) -> str:
    """What to do about a table with a column of 0 and 1 for each class; empty where it has none such.

    Args:
        table: Whose rows nobody has read yet.
    """
    lines = list(islice(table.read(table.header), _LOOKED_AT))
    flags = [name for name in table.header if _holds_flags([line.cells.get(name, "") for line in lines])]
    if not lines or len(flags) < _LEAST_FLAGS:
        return ""
    counts = [sum(line.cells.get(name, "").strip().lower() in _SET for name in flags) for line in lines]
    shown = ", ".join(flags[:_SHOWN]) + (", …" if len(flags) > _SHOWN else "")
    what = f"{shown} hold 0 and 1, a column for each class: labels stand in one column. With pandas: "
    first = table.header.index(flags[0])
    neighbours = list(table.header[first : first + len(flags)]) == flags
    part = f"t.loc[:, {flags[0]!r}:{flags[-1]!r}]" if neighbours else f"t[{flags[:_SHOWN]}]"
    if set(counts) == {1}:
        return f'{what}`t["label"] = {part}.idxmax(axis=1)`'
    join = 'lambda row: "|".join(row.index[row == 1])'
    return f'{what}`t["label"] = {part}.apply({join}, axis=1)`, for a task with multilabel: true'


def _holds_flags(cells: Sequence[str]) -> bool:
    words = {cell.strip().lower() for cell in cells}
    return words <= _SET | _UNSET and bool(words & _SET)


def _other_name(name: str, header: Sequence[str]) -> str:
    if name in header:
        return ""
    plain = {"".join(c for c in cell.lower() if c.isalnum()): cell for cell in header}
    return next((cell for word, cell in plain.items() if word in _OTHER_NAMES[name]), "")
