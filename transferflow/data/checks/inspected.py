"""What is known about a data set once every file has been opened."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from transferflow.data.files.boxes import Seen
from transferflow.data.records import Finding, MaskCoding, Record, SplitName


@dataclass(frozen=True)
class Inspected:
    """Records that can be used, sorted by id, and what was found on the way.

    Attributes:
        records: Records; boxes in pixels of the image as it is seen.
        facts: What inspection found about each; columns of `manifest.FACT_FIELDS`.
        mask_classes: Classes in each mask, for segmentation.
        splits: Split of each.
        findings: Everything that is odd or wrong, quarantined files included.
        coding: What the values in the masks mean, for segmentation.
    """

    records: list[Record]
    facts: pa.Table
    mask_classes: list[tuple[str, ...]] = field(default_factory=list)
    splits: list[SplitName] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    coding: MaskCoding | None = None

    def labels_of(self, row: int) -> tuple[str, ...]:
        """Labels of an image: its own, those of its boxes (each box counts), or those in its mask."""
        record = self.records[row]
        if self.mask_classes:
            return self.mask_classes[row]
        return record.labels or tuple(box.label for box in record.boxes)

    @property
    def hashes(self) -> list[str]:
        """sha256 of each image file."""
        found: list[str] = self.facts["sha256"].to_pylist()
        return found


def seen_of(facts: pa.Table) -> list[Seen]:
    """Size and orientation of each image."""
    columns = (facts[name].to_pylist() for name in ("width", "height", "orientation"))
    return [Seen(*values) for values in zip(*columns, strict=True)]
