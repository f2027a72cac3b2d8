"""Tables as files: CSV and Parquet, every cell as text."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transferflow.data.formats.exact import InexactError, exact_text
from transferflow.errors import DataError
from transferflow.limits import MAX_CELL, MAX_COLUMNS
from transferflow.text import counted

_DELIMITERS = (",", ";", "\t")
_CSV = frozenset({".csv", ".tsv", ".txt"})
_BATCH = 2_000
_SHOWN = 10
_SEVERAL = "holds {} values, where one is expected; several labels of an image take multilabel: true"
_PARQUET_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError, KeyError)
"""What is raised for damage of every kind; text that is no UTF-8 is a ValueError."""


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
    """An open table.

    Attributes:
        header: Names of the columns.
        read: The lines, of which the named columns have cells at least; can be read once.
    """

    header: tuple[str, ...]
    read: Callable[[Collection[str]], Iterator[Line]]


def open_csv(file: Path) -> TableFile:
    """Open a CSV file in UTF-8, separated by comma, semicolon or tab; blank lines are skipped.

    Raises:
        DataError: If it is not UTF-8 or not CSV, now or while the rows are read; names the line.
    """
    rows = _csv_rows(file)
    _, header = next(rows, (1, []))
    header = _without_empty_end([cell.strip() for cell in header])
    _check_columns(header, file)

    def read(_: Collection[str]) -> Iterator[Line]:
        return (_line(number, header, cells) for number, cells in rows if any(cells))

    return TableFile(tuple(header), read)


def _line(number: int, header: list[str], cells: list[str]) -> Line:
    problem = ""
    if len(cells) > len(header):
        cells = [*cells[: len(header)], *_without_empty_end(cells[len(header) :])]
    if len(cells) != len(header):
        problem = f"the row has {counted(len(cells), 'cell')} and the header has {len(header)}"
    return Line(number, dict(zip(header, cells, strict=False)), problem)


def _without_empty_end(cells: list[str]) -> list[str]:
    """Cells before the separators that a spreadsheet leaves at the end of lines."""
    last = max((place for place, cell in enumerate(cells, 1) if cell.strip()), default=0)
    return cells[:last]


def _csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows, each with the line that it starts at."""
    number = 0
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline(MAX_CELL)
            if "\0" in first:
                raise _not_utf8(file, 1, "UTF-16, as it seems")
            stream.seek(0)
            delimiter = max(_DELIMITERS, key=first.count)
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            for cells in reader:
                start, number = number + 1, reader.line_num
                yield start, cells
    except UnicodeDecodeError as error:
        raise _not_utf8(file, _line_that_is_no_text(file), str(error.reason)) from error
    except (csv.Error, OSError) as error:
        raise DataError(
            "the table can't be read as CSV", where=f"{file}:{number + 1}", found=str(error)
        ) from error


def _not_utf8(file: Path, line: int, found: str) -> DataError:
    return DataError(
        "the table is not UTF-8 text", where=f"{file}:{line}", found=found, hint="save it as UTF-8"
    )


def _line_that_is_no_text(file: Path) -> int:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _check_columns(header: Sequence[str], file: Path) -> None:
    if len(header) > MAX_COLUMNS:
        raise DataError(
            "the table has too many columns",
            where=f"{file}:1",
            found=f"{len(header):,}",
            allowed=f"at most {MAX_COLUMNS:,}",
            hint="put a row per image, not a column per image",
        )
    nameless = [place for place, name in enumerate(header, 1) if not name]
    if len(nameless) > 1:
        raise DataError(
            "the table has several columns without a name",
            where=f"{file}:1",
            found=f"columns {', '.join(map(str, nameless[:_SHOWN]))} of {len(header):,}",
            hint="name every column in the first line, or leave those columns out",
        )
    twice = sorted(name for name, count in Counter(header).items() if count > 1)
    if twice:
        raise DataError(
            f"the table has two columns of the same name: {', '.join(map(repr, twice))}", where=f"{file}:1"
        )


def open_parquet(file: Path, separator: str | None) -> TableFile:
    """Open a Parquet file; values come as text (true/false for booleans), lists joined by `separator`.

    Without a separator, a list of several values can't be read.

    Raises:
        DataError: If it is not Parquet, now or while the rows are read.
    """
    try:
        schema = pq.read_schema(file)
        header = list(schema.names)
    except _PARQUET_ERRORS as error:
        raise _no_parquet(file, error) from error
    _check_columns(header, file)
    texts = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_binary(f.type)]
    return TableFile(tuple(header), partial(_parquet_lines, file, separator, texts))


def _parquet_lines(
    file: Path, separator: str | None, texts: Sequence[str], wanted: Collection[str]
) -> Iterator[Line]:
    """Rows of the wanted columns; others may hold the very images.

    A text that stands in many rows stands once in the file. It is read as such: spelled out it could take a
    thousand times the memory.
    """
    number = 1
    try:
        with pq.ParquetFile(file, read_dictionary=list(texts)) as table:
            names = [name for name in table.schema_arrow.names if name in wanted]
            for batch in table.iter_batches(batch_size=_BATCH, columns=names):
                for values in zip(*(_values(batch[name], name) for name in names), strict=True):
                    number += 1
                    yield _parquet_line(number, dict(zip(names, values, strict=True)), separator)
    except _PARQUET_ERRORS as error:
        raise _no_parquet(file, error) from error


def _values(column: pa.Array, name: str) -> list[object]:
    if not pa.types.is_dictionary(column.type):
        return list(column.to_pylist())
    longest = pc.max(pc.binary_length(column.dictionary)).as_py() or 0
    if longest > MAX_CELL:
        raise ValueError(f"the column {name!r} has a cell of {longest:,} bytes; allowed are {MAX_CELL:,}")
    return list(column.dictionary_decode().to_pylist())


def _no_parquet(file: Path, error: Exception) -> DataError:
    hint = "set `format: csv`" if file.suffix.lower() in _CSV else ""
    return DataError("the table can't be read as Parquet", where=str(file), found=str(error), hint=hint)


def _parquet_line(number: int, row: Mapping[str, object], separator: str | None) -> Line:
    cells: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for name, value in row.items():
        try:
            parts = value if isinstance(value, list) else [value]
            if separator is None and len(parts) > 1:
                raise InexactError(_SEVERAL.format(len(parts)))
            cells[name] = (separator or "").join(map(exact_text, parts))
        except InexactError as error:
            cells[name], unreadable[name] = "", f"the cell {name!r} {error}"
    return Line(number, cells, unreadable=unreadable)
