"""`csv` and `parquet`: a table with a row per image."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from transferflow.data.formats.folders import SPLIT_WORDS, split_of
from transferflow.data.paths import Members, Refusal, require_file
from transferflow.data.records import Finding, Listing, Record
from transferflow.errors import DataError
from transferflow.spec.data import Columns, DicomData, TableData
from transferflow.spec.task import ClassificationTask, Task

_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Line:
    """One row of a table, all cells as text.

    Attributes:
        number: Line in the file, the header being line 1.
        cells: Text per column name; a list cell of Parquet comes joined by the label separator.
        problem: What is wrong with the row as such.
    """

    number: int
    cells: Mapping[str, str]
    problem: str = ""


def list_table(data: TableData, task: Task, root: Path) -> Listing:
    """List the rows of a CSV or Parquet table; labels stay the text they are.

    Raises:
        DataError: If the table is missing, is not readable, or lacks a column.
    """
    file = require_file(root, data.file, "data.file")
    lines = read_csv(file) if data.format == "csv" else read_parquet(file, data.label_separator)
    return list_lines(data, task, root, file, lines)


def list_lines(
    data: TableData | DicomData, task: Task, root: Path, file: Path, lines: Iterator[Line]
) -> Listing:
    """List the rows of an open table.

    Raises:
        DataError: If the table is not readable, lacks a column or has no rows.
    """
    reader = _RowReader(data, task, root, file.relative_to(root).as_posix())
    for line in lines:
        reader.take(line)
    if not reader.records and not reader.findings:
        raise DataError("the table has no rows", where=str(file), hint="put a row per image below the header")
    classes = data.classes or tuple(sorted({label for r in reader.records for label in r.labels}))
    return Listing(root, classes, tuple(reader.records), tuple(reader.findings))


class _RowReader:
    """Turns lines into records and findings."""

    def __init__(self, data: TableData | DicomData, task: Task, root: Path, name: str) -> None:
        self.records: list[Record] = []
        self.findings: list[Finding] = []
        self._columns = table_columns(data)
        self._required_group = data.split.group_by is not None
        self._separator = (
            data.label_separator if isinstance(task, ClassificationTask) and task.multilabel else None
        )
        self._members = Members(root)
        self._name = name
        self._seen: dict[str, str] = {}
        self._labels: dict[str, tuple[str, ...]] = {}

    def take(self, line: Line) -> None:
        """Add the record of one line, or the finding that keeps it out."""
        where = f"{self._name}:{line.number}"
        self._require_columns(line)
        record = self._record(line, where)
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
        if line.problem:
            return Finding("bad_row", "error", where, line.problem)
        text = cells[columns.path].strip()
        if not text:
            return Finding("bad_row", "error", where, f"the column {columns.path!r} is empty")
        path = self._members.locate(text)
        if isinstance(path, Refusal):
            return path.finding(where)
        labels = self._labels_of(cells[columns.label])
        if not labels and self._separator is None:
            return Finding("no_label", "quarantine", where, f"the column {columns.label!r} is empty")
        group = cells.get(columns.group, "").strip() or None
        if group is None and self._required_group:
            return Finding("no_group", "error", where, f"the column {columns.group!r} is empty")
        word = cells.get(columns.split, "").strip()
        split = split_of(word)
        if word and split is None:
            reason = f"{word!r} is no split; allowed: {', '.join(SPLIT_WORDS)}"
            return Finding("unknown_split", "error", where, reason)
        return Record(path, path, labels, group=group, split=split, source=where)

    def _labels_of(self, cell: str) -> tuple[str, ...]:
        if cell not in self._labels:
            parts = [cell] if self._separator is None else cell.split(self._separator)
            # A label counts once, however often it stands in the cell.
            self._labels[cell] = tuple(dict.fromkeys(p for part in parts if (p := part.strip())))
        return self._labels[cell]

    def _require_columns(self, line: Line) -> None:
        if self._seen or self.findings or line.problem:
            return
        needed = {"path": self._columns.path, "label": self._columns.label}
        if self._required_group:
            needed["group"] = self._columns.group
        for key, column in needed.items():
            if column not in line.cells:
                asked = "data.split.group_by" if key == "group" else f"data.columns.{key}"
                raise DataError(
                    f"the table has no column {column!r}",
                    where=f"{self._name}:1",
                    found=", ".join(line.cells) or "no columns",
                    hint=f"name the right column under {asked}",
                )


def table_columns(data: TableData | DicomData) -> Columns:
    """Column names, with `split.group_by` as the group column where it is given."""
    if data.split.group_by is None:
        return data.columns
    return data.columns.model_copy(update={"group": data.split.group_by})


def read_csv(file: Path) -> Iterator[Line]:
    """Rows of a CSV file in UTF-8, separated by comma, semicolon or tab.

    Raises:
        DataError: If it is not UTF-8 or not CSV; names the line.
    """
    number = 0
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            delimiter = max(_DELIMITERS, key=first.count)
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            _refuse_equal_columns(header, file)
            number = reader.line_num
            for cells in reader:
                start, number = number + 1, reader.line_num
                if not any(cells):
                    continue
                problem = ""
                if len(cells) != len(header):
                    problem = f"the row has {len(cells)} cells and the header has {len(header)}"
                yield Line(start, dict(zip(header, cells, strict=False)), problem)
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: _bad_byte(file)].count(b"\n") + 1
        raise DataError(
            "the table is not UTF-8 text",
            where=f"{file}:{line}",
            found=str(error.reason),
            hint="save it as UTF-8",
        ) from error
    except (csv.Error, OSError) as error:
        raise DataError(
            "the table can't be read as CSV", where=f"{file}:{number + 1}", found=str(error)
        ) from error


def _bad_byte(file: Path) -> int:
    try:
        file.read_bytes().decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _refuse_equal_columns(header: list[str], file: Path) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(
            f"the table has two columns of the same name: {', '.join(map(repr, twice))}", where=f"{file}:1"
        )


def read_parquet(file: Path, separator: str) -> Iterator[Line]:
    """Rows of a Parquet file, values as text (true/false for booleans), lists joined by `separator`.

    Raises:
        DataError: If it is not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            _refuse_equal_columns(table.schema_arrow.names, file)
            number = 1
            for batch in table.iter_batches(batch_size=20_000):
                for row in batch.to_pylist():
                    number += 1
                    yield Line(number, {name: _text(value, separator) for name, value in row.items()})
    except (pa.ArrowException, OSError) as error:
        raise DataError("the table can't be read as Parquet", where=str(file), found=str(error)) from error


def _text(value: object, separator: str) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
        case list():
            return separator.join(_text(item, separator) for item in value)
        case _:
            return str(value)
