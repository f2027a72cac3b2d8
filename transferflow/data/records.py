"""What a data set is made of, between the formats and everything that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from transferflow.text import one_line

SplitName = Literal["train", "val", "test"]
Severity = Literal["error", "warning", "quarantine"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned box in pixels of the image as it is seen (EXIF orientation applied).

    Attributes:
        x_min: Left edge.
        y_min: Top edge.
        x_max: Right edge, exclusive.
        y_max: Bottom edge, exclusive.
        label: Class name.
        crowd: Whether it stands for many objects at once (COCO `iscrowd`).
        line: Line (JSON: index) of the box in its annotation file, for messages.
        area: Pixels of the object itself, where the format says so (COCO `area`); `None`: of the box. COCO
            sorts objects into sizes by it.
    """

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    label: str
    crowd: bool = False
    line: int = 0
    area: float | None = None

    @property
    def object_area(self) -> float:
        """Pixels of the object as far as they are known."""
        return (self.x_max - self.x_min) * (self.y_max - self.y_min) if self.area is None else self.area


@dataclass(frozen=True, slots=True)
class Record:
    """One image as its format lists it, before any file is opened.

    Attributes:
        id: Stable identity: the POSIX path below the root.
        path: POSIX path below the root.
        labels: Class names (classification), or the number as text (regression).
        boxes: Boxes (detection).
        mask: POSIX path of the mask below the root, or of a COCO file with `#<image id>` (segmentation).
        group: Patient, scene or the like.
        split: Split that folders or columns name; `None` lets the stable hash decide.
        source: Where the format says so, such as `labels.csv:12`.
        frame: Width and height of the image that the boxes were drawn on, as the format says;
            (1, 1): the boxes are fractions of the image. A snapshot holds boxes in pixels only.
    """

    id: str
    path: str
    labels: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    mask: str | None = None
    group: str | None = None
    split: SplitName | None = None
    source: str = ""
    frame: tuple[int, int] | None = None


@dataclass(frozen=True)
class Finding:
    """Something a check found.

    Attributes:
        kind: Short slug such as `unreadable`, `box_outside`, `leak`.
        severity: Errors stop the run; warnings do not; quarantined files count against
            `data.max_bad_fraction`.
        where: File and line, in one line.
        reason: One sentence, in one line.
    """

    kind: str
    severity: Severity
    where: str
    reason: str

    def __post_init__(self) -> None:
        # Both quote names and labels out of files, which may hold anything and be of any length.
        object.__setattr__(self, "where", one_line(self.where))
        object.__setattr__(self, "reason", one_line(self.reason))


def about(record: Record, kind: str, severity: Severity, reason: str) -> Finding:
    """Finding about one record, at the place where its format says so."""
    where = record.source or record.path
    return Finding(kind, severity, where, reason if where == record.path else f"{record.path}: {reason}")


@dataclass(frozen=True)
class Listing:
    """All records of a data set, before any image is opened.

    Attributes:
        root: Folder of the images.
        classes: Class names in order.
        records: One per image.
        findings: What was odd or wrong on the way.
        links: Folders outside the root that its links may lead to.
    """

    root: Path
    classes: tuple[str, ...]
    records: tuple[Record, ...]
    findings: tuple[Finding, ...] = field(default=())
    links: tuple[Path, ...] = ()


@dataclass(frozen=True)
class MaskCoding:
    """What the values in masks mean.

    Attributes:
        values: Class name by value; with `colours` by packed RGB value (0xRRGGBB).
        void: Values of pixels that count neither in the loss nor in the metrics.
        ignored: What such pixels have in the truth, where classes are their places in the class list.
        colours: Whether masks are read as RGB.
    """

    values: Mapping[int, str]
    void: frozenset[int]
    ignored: int
    colours: bool = False


@dataclass(frozen=True)
class DatasetSnapshot:
    """A data set at one moment, on disk.

    Attributes:
        path: Folder with `manifest.parquet`, `quarantine.csv` and `snapshot.json`.
        root: Folder of the images.
        fingerprint: sha256 over content hashes, labels and splits.
        classes: Class names in order.
        channels: Channels that the model sees.
        counts: Images per split.
        class_counts: Images (detection: boxes) of each class per split; regression: images.
        quarantined: Number of files left out.
        ids: sha256 over the ids of each split's images, in their order: order and variations go by them.
        groups: sha256 over the groups of each split's images, in the same order.
        view: How the images were looked at: facts of another view can't be reused.
        coding: What the values in its masks mean, for segmentation.
        links: Folders outside the root that its links may lead to.
    """

    path: Path
    root: Path
    fingerprint: str
    classes: tuple[str, ...]
    channels: int
    counts: Mapping[SplitName, int]
    class_counts: Mapping[SplitName, Mapping[str, int]]
    quarantined: int
    ids: Mapping[SplitName, str] = field(default_factory=dict)
    groups: Mapping[SplitName, str] = field(default_factory=dict)
    view: Mapping[str, Any] = field(default_factory=dict)
    coding: MaskCoding | None = None
    links: tuple[Path, ...] = ()
