"""What a listing may hold, whatever the format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transferflow.data.records import Finding, Listing, Record
from transferflow.errors import DataError
from transferflow.limits import MAX_BAD_ENTRIES, MAX_CLASSES, MAX_LABEL


def require_few(findings: Sequence[Finding], name: str) -> None:
    """See that a file whose entries are left out one by one is not another kind of file altogether.

    Raises:
        DataError: If more than `MAX_BAD_ENTRIES` are.
    """
    if len(findings) > MAX_BAD_ENTRIES:
        raise DataError(
            f"more than {MAX_BAD_ENTRIES:,} entries can't be used",
            where=name,
            found=f"the first: {findings[0].where}: {findings[0].reason}",
            hint="check that this is the right file",
        )


def require_bounded(listing: Listing) -> Listing:
    """Return the listing if its class names are names, and not too many.

    Raises:
        DataError: If one is as long as a page, or there are more than `MAX_CLASSES`.
    """
    if len(listing.classes) > MAX_CLASSES:
        raise DataError(
            "the data set has too many classes",
            where="data.classes",
            found=f"{len(listing.classes):,}",
            allowed=f"at most {MAX_CLASSES:,}",
            hint="labels that differ for every image are no classes: name the right column",
        )
    for label, where in _labels(listing):
        if len(label) > MAX_LABEL:
            raise DataError(
                "a label is too long to be the name of a class",
                where=where,
                found=f"{label[:40]}…: {len(label):,} characters",
                allowed=f"at most {MAX_LABEL}",
            )
    return listing


def _labels(listing: Listing) -> Iterator[tuple[str, str]]:
    """Each label once, with where it stands."""
    seen: set[str] = set()
    for label in listing.classes:
        seen.add(label)
        yield label, "data.classes"
    for record in listing.records:
        for label in _labels_of(record):
            if label not in seen:
                seen.add(label)
                yield label, record.source or record.path


def _labels_of(record: Record) -> Iterator[str]:
    yield from record.labels
    yield from (box.label for box in record.boxes)
