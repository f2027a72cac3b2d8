"""`csv` and `parquet`: a table with a row per image."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from transferflow.data.files.fence import Fence
from transferflow.data.files.members import Members, Refusal, require_file
from transferflow.data.formats.bounds import require_few
from transferflow.data.formats.folders import SPLIT_WORDS, split_of
from transferflow.data.formats.groups import group_names
from transferflow.data.formats.spellings import Spellings
from transferflow.data.formats.split_columns import UnreadColumns
from transferflow.data.formats.table_file import Line, TableFile, open_csv, open_parquet
from transferflow.data.formats.table_header import missing_column_hint, one_hot_hint
from transferflow.data.records import Finding, Listing, Record
from transferflow.errors import DataError
from transferflow.spec.class_names import plain_name
from transferflow.spec.sections.data import Columns, DicomData, TableData
from transferflow.spec.sections.truth import Truth

_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")


def list_table(data: TableData, truth: Truth, fence: Fence) -> Listing:
    """List the rows of a CSV or Parquet table; labels stay the text they are.

    Raises:
        DataError: If the table is missing, is not readable, or lacks a column.
    """
    file = require_file(fence, data.file, "data.file")
    table = (
        open_csv(file)
        if data.format == "csv"
        else open_parquet(file, data.label_separator if truth.several else None)
    )
    return list_rows(data, truth, fence, file, table)


def list_rows(
    data: TableData | DicomData, truth: Truth, fence: Fence, file: Path, table: TableFile
) -> Listing:
    """List the rows of an open table.

    Raises:
        DataError: If the table is not readable, lacks a column or has no rows.
    """
    name = file.relative_to(fence.root).as_posix()
    columns = decide_columns(data, table, name)
    reader = _RowReader(data, truth, fence, name, columns, table.header)
    if columns.group != data.columns.group and data.split.group_by is None:
        reason = f"rows of equal {columns.group!r} share a split; data.columns.group names another column"
        reader.findings.append(Finding("group_column", "warning", f"{name}:1", reason))
    for line in table.read(reader.wanted):
        reader.take(line)
    reader.findings += [*reader.unread.findings(f"{name}:1"), *reader.spellings.findings()]
    if not reader.records and not any(f.severity != "warning" for f in reader.findings):
        raise DataError("the table has no rows", where=str(file), hint="put a row per image below the header")
    if truth.is_number:
        classes: tuple[str, ...] = (columns.label,)
    else:
        classes = data.classes or tuple(sorted({label for r in reader.records for label in r.labels}))
    return Listing(fence.root, classes, tuple(reader.records), tuple(reader.findings))


def decide_columns(data: TableData | DicomData, table: TableFile, name: str) -> Columns:
    """Decide which columns hold what; `Group`, or patients, are the group unless another one is named.

    Rows are read only where the labels are not found.

    Raises:
        DataError: If a column that is needed is not there.
    """
    columns, group_by, header = data.columns, data.split.group_by, table.header
    groups = group_names(header)
    if group_by is not None:
        columns = columns.model_copy(update={"group": group_by})
    elif columns.group not in header and groups:
        columns = columns.model_copy(update={"group": groups[0]})
    for key, column in _needed_columns(data).items():
        if column not in header:
            raise DataError(
                f"the table has no column {column!r}",
                where=f"{name}:1",
                found=", ".join(header) or "no columns",
                hint=(one_hot_hint(table) if key == "data.columns.label" else "")
                or missing_column_hint(column, key, header),
            )
    return columns


def _needed_columns(data: TableData | DicomData) -> dict[str, str]:
    """Columns that have to be there, by the key that names them."""
    columns, defaults = data.columns, Columns()
    needed = {"data.columns.path": columns.path, "data.columns.label": columns.label}
    # A table may lack group and split, but not where the spec names their column: the split would be another.
    for key in ("group", "split"):
        if getattr(columns, key) != getattr(defaults, key):
            needed[f"data.columns.{key}"] = getattr(columns, key)
    if data.split.group_by is not None:
        needed["data.split.group_by"] = data.split.group_by
    return needed


def is_number(text: str) -> bool:
    """Whether a cell holds a finite number, with a point if it is broken."""
    try:
        return "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False


def _names(columns: Columns) -> tuple[str, ...]:
    return columns.path, columns.label, columns.group, columns.split


class _RowReader:
    """Turns lines into records and findings."""

    def __init__(
        self,
        data: TableData | DicomData,
        truth: Truth,
        fence: Fence,
        name: str,
        columns: Columns,
        header: Sequence[str],
    ) -> None:
        self.records: list[Record] = []
        self.findings: list[Finding] = []
        self._columns = columns
        self._required_group = data.split.group_by is not None
        self._separator = data.label_separator if truth.several else None
        self._is_number = truth.is_number
        self._members = Members(fence)
        self._name = name
        self._seen: dict[str, str] = {}
        self.spellings = Spellings()
        self.unread = UnreadColumns(() if columns.split in header else header, _names(columns))

    @property
    def wanted(self) -> frozenset[str]:
        """Columns that are looked at."""
        return frozenset({*_names(self._columns), *self.unread.names})

    def take(self, line: Line) -> None:
        """Add the record of one line, or the finding that keeps it out.

        Raises:
            DataError: If so many are kept out that this can't be the right table.
        """
        require_few(self.findings, self._name)
        where = f"{self._name}:{line.number}"
        record = self._record(line, where)
        self.unread.take(line.cells)
        if isinstance(record, Finding):
            self.findings.append(record)
        elif record.id in self._seen:
            reason = f"{record.id!r} is listed again; first in {self._seen[record.id]}"
            self.findings.append(Finding("duplicate_id", "error", where, reason))
        else:
            self._seen[record.id] = where
            self.records.append(record)

    def _record(self, line: Line, where: str) -> Record | Finding:
        columns, cells = self._columns, line.cells
        problem = line.problem or next(
            (line.unreadable[name] for name in _names(columns) if name in line.unreadable), ""
        )
        if problem:
            return Finding("bad_row", "error", where, problem)
        text = cells[columns.path].strip()
        if not text:
            return Finding("bad_row", "error", where, f"the column {columns.path!r} is empty")
        path = self._members.locate(text)
        if isinstance(path, Refusal):
            return path.finding(where)
        labels = self._labels_of(cells[columns.label], where)
        if not labels and self._separator is None:
            return Finding("no_label", "quarantine", where, f"the column {columns.label!r} is empty")
        if self._is_number and not is_number(labels[0]):
            reason = f"the column {columns.label!r} holds {labels[0]!r}, which is no number"
            if _THOUSANDS.fullmatch(labels[0]):
                reason += ": thousands have no separator, and decimals a point"
            elif is_number(labels[0].replace(",", ".", 1)):
                reason += ": decimals have a point"
            return Finding("no_number", "quarantine", where, reason)
        group = plain_name(cells.get(columns.group, "")) or None
        if group is None and self._required_group:
            return Finding("no_group", "error", where, f"the column {columns.group!r} is empty")
        word = cells.get(columns.split, "").strip()
        split = split_of(word)
        if word and split is None:
            reason = f"{word!r} is no split; allowed: {', '.join(SPLIT_WORDS)}"
            return Finding("unknown_split", "error", where, reason)
        return Record(path, path, labels, group=group, split=split, source=where)

    def _labels_of(self, cell: str, where: str) -> tuple[str, ...]:
        parts = [cell] if self._separator is None else cell.split(self._separator)
        names = (self.spellings.read(part, where) for part in parts if part)
        # A label counts once, however often it stands in the cell.
        return tuple(dict.fromkeys(name for name in names if name))
