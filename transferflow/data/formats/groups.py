"""What says which images belong together: a column or entry, also of a `metadata.csv` beside the images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from transferflow.data.records import Finding, Listing
from transferflow.errors import DataError
from transferflow.spec.class_names import plain_name

if TYPE_CHECKING:
    from transferflow.data.formats.table_file import TableFile

METADATA = "metadata.csv"
_PATH_COLUMNS = ("path", "file_name")
_GROUP = "group"
_PATIENT_WORDS = frozenset(
    f"{who}{what}" for who in ("patient", "subject", "participant") for what in ("", "id", "number", "no")
)


def group_names(names: Iterable[str]) -> list[str]:
    """Columns or entries that group images: `group` comes first, then `Group`, then those of patients."""
    found = [name for name in names if _letters(name) in {_GROUP, *_PATIENT_WORDS}]
    return sorted(found, key=lambda name: (name != _GROUP, _letters(name) != _GROUP))


def _letters(name: str) -> str:
    """`Patient ID`, `patient-id` and `PatientID` are one name."""
    return "".join(character for character in name.lower() if character.isalnum())


def decide_group_name(names: Iterable[str]) -> str | None:
    """Column or entry that groups images when the spec names none: see `group_names`."""
    return next(iter(group_names(dict.fromkeys(names))), None)


def group_finding(name: str, where: str) -> Finding:
    """Tells that images were grouped though the spec does not say so."""
    reason = f"images of equal {name!r} share a split; data.split.group_by names another column"
    return Finding("group_column", "warning", where, reason)


def add_groups(listing: Listing, group_by: str | None) -> Listing:
    """Give each record its group, from a column of `metadata.csv` below the root.

    Args:
        listing: Of a format that has no place for groups.
        group_by: The column, which then has to be there; left out: `group`, or one of patients, if there is
            one.

    Raises:
        DataError: If there is no such file or column.
    """
    file = listing.root / METADATA
    if group_by is not None:
        return _require_groups(listing, file, group_by)
    if not file.is_file():
        return listing
    from transferflow.data.formats.table_file import open_csv  # loads pyarrow

    table = open_csv(file)
    column = decide_group_name(table.header)
    if column is None or not set(_PATH_COLUMNS) & set(table.header):
        return listing
    groups = _load_groups(table, column)
    records = tuple(replace(record, group=groups.get(record.path)) for record in listing.records)
    findings = [*listing.findings, group_finding(column, f"{METADATA}:1")]
    alone = [record.path for record in records if record.group is None]
    if alone:
        count = f"{len(alone)} of {len(records)} images"
        reason = f"{count} have no {column!r} and are split one by one: {alone[0]}"
        findings.append(Finding("no_group", "warning", METADATA, reason))
    return replace(listing, records=records, findings=tuple(findings))


def _require_groups(listing: Listing, file: Path, group_by: str) -> Listing:
    if not file.is_file():
        raise DataError(
            f"nothing says the {group_by!r} of an image",
            where="data.split.group_by",
            found=f"no {METADATA} in {listing.root}",
            hint=f"put {METADATA} there, with the columns path and {group_by}, or use `format: csv`",
        )
    from transferflow.data.formats.table_file import open_csv

    groups = _load_groups(open_csv(file), group_by)
    records, findings = [], list(listing.findings)
    for record in listing.records:
        group = groups.get(record.path)
        if group is None:
            reason = f"{METADATA} does not give its {group_by!r}"
            findings.append(Finding("no_group", "error", record.path, reason))
        else:
            records.append(replace(record, group=group))
    return replace(listing, records=tuple(records), findings=tuple(findings))


def path_column(table: TableFile, other: str = "") -> str:
    """Column of `metadata.csv` that names the image.

    Args:
        table: The open file.
        other: Another column that has to be there.

    Raises:
        DataError: If there is none.
    """
    column = next((name for name in _PATH_COLUMNS if name in table.header), None)
    if column is None or (other and other not in table.header):
        raise DataError(
            f"{METADATA} lacks a column",
            where=f"{METADATA}:1",
            found=", ".join(table.header),
            allowed=f"path (or file_name){f' and {other}' if other else ''}",
        )
    return column


def plain_path(cell: str) -> str:
    """An image's id as `metadata.csv` spells it."""
    return cell.strip().replace("\\", "/").removeprefix("./")


def _load_groups(table: TableFile, group_by: str) -> dict[str, str]:
    column = path_column(table, group_by)
    groups: dict[str, str] = {}
    for line in table.read((column, group_by)):
        group = plain_name(line.cells.get(group_by, ""))
        if group:
            groups[plain_path(line.cells.get(column, ""))] = group
    return groups
