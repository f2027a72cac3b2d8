"""Groups for formats that have no place for them: a `metadata.csv` beside the images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from transferflow.data.formats.table_file import open_csv
from transferflow.data.records import Finding, Listing
from transferflow.errors import DataError

METADATA = "metadata.csv"
_PATH_COLUMNS = ("path", "file_name")


def add_groups(listing: Listing, group_by: str) -> Listing:
    """Give each record its group, from the column `group_by` of `metadata.csv` below the root.

    Raises:
        DataError: If there is no such file or column.
    """
    file = listing.root / METADATA
    if not file.is_file():
        raise DataError(
            f"nothing says the {group_by!r} of an image",
            where="data.split.group_by",
            found=f"no {METADATA} in {listing.root}",
            hint=f"put {METADATA} there, with the columns path and {group_by}, or use `format: csv`",
        )
    groups = _load_groups(file, group_by)
    records, findings = [], list(listing.findings)
    for record in listing.records:
        group = groups.get(record.path)
        if group is None:
            reason = f"{METADATA} does not give its {group_by!r}"
            findings.append(Finding("no_group", "error", record.path, reason))
        else:
            records.append(replace(record, group=group))
    return replace(listing, records=tuple(records), findings=tuple(findings))


def _load_groups(file: Path, group_by: str) -> dict[str, str]:
    table = open_csv(file)
    column = next((name for name in _PATH_COLUMNS if name in table.header), None)
    if column is None or group_by not in table.header:
        raise DataError(
            f"{METADATA} lacks a column",
            where=f"{METADATA}:1",
            found=", ".join(table.header),
            allowed=f"path (or file_name) and {group_by}",
        )
    groups: dict[str, str] = {}
    for line in table.lines:
        group = line.cells.get(group_by, "").strip()
        if group:
            groups[line.cells[column].strip().replace("\\", "/").removeprefix("./")] = group
    return groups
