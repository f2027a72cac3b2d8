"""Tables as files: CSV and Parquet, every cell as text."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from transferflow.data.formats.exact import InexactError, exact_text
from transferflow.errors import DataError

_DELIMITERS = (",", ";", "\t")
_CSV = frozenset({".csv", ".tsv", ".txt"})


@dataclass(frozen=True)
class Line:
    """One row of a table, all cells as text.

    Attributes:
        number: Line in the file, the header being line 1.
        cells: Text per column name; a list cell of Parquet comes joined by the label separator.
        problem: What is wrong with the row as such.
        unreadable: What is wrong with single cells, by column; their text is empty.
    """

    number: int
    cells: Mapping[str, str]
    problem: str = ""
    unreadable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TableFile:
    """An open table; its lines can be read once."""

    header: tuple[str, ...]
    lines: Iterator[Line]


def open_csv(file: Path) -> TableFile:
    """Open a CSV file in UTF-8, separated by comma, semicolon or tab; blank lines are skipped.

    Raises:
        DataError: If it is not UTF-8 or not CSV, now or while the rows are read; names the line.
    """
    rows = _csv_rows(file)
    _, header = next(rows, (1, []))
    header = [cell.strip() for cell in header]
    _refuse_equal_columns(header, file)
    return TableFile(tuple(header), (_line(number, header, cells) for number, cells in rows if any(cells)))


def _line(number: int, header: list[str], cells: list[str]) -> Line:
    problem = ""
    if len(cells) != len(header):
        problem = f"the row has {len(cells)} cells and the header has {len(header)}"
    return Line(number, dict(zip(header, cells, strict=False)), problem)


def _csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows, each with the line that it starts at."""
    number = 0
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            delimiter = max(_DELIMITERS, key=first.count)
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            for cells in reader:
                start, number = number + 1, reader.line_num
                yield start, cells
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


def open_parquet(file: Path, separator: str) -> TableFile:
    """Open a Parquet file; values come as text (true/false for booleans), lists joined by `separator`.

    Raises:
        DataError: If it is not Parquet, now or while the rows are read.
    """
    try:
        header = pq.read_schema(file).names
    except (pa.ArrowException, OSError) as error:
        raise _no_parquet(file, error) from error
    _refuse_equal_columns(header, file)
    return TableFile(tuple(header), _parquet_lines(file, separator))


def _parquet_lines(file: Path, separator: str) -> Iterator[Line]:
    number = 1
    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=20_000):
                for row in batch.to_pylist():
                    number += 1
                    yield _parquet_line(number, row, separator)
    except (pa.ArrowException, OSError) as error:
        raise _no_parquet(file, error) from error


def _no_parquet(file: Path, error: Exception) -> DataError:
    hint = "set `format: csv`" if file.suffix.lower() in _CSV else ""
    return DataError("the table can't be read as Parquet", where=str(file), found=str(error), hint=hint)


def _parquet_line(number: int, row: Mapping[str, object], separator: str) -> Line:
    cells: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for name, value in row.items():
        try:
            parts = value if isinstance(value, list) else [value]
            cells[name] = separator.join(map(exact_text, parts))
        except InexactError as error:
            cells[name], unreadable[name] = "", f"the cell {name!r} {error}"
    return Line(number, cells, unreadable=unreadable)
