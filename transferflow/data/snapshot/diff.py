"""The difference of two snapshots: what a refresh acts on, and what a reader wants to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import stats

from transferflow.data.records import SPLITS, DatasetSnapshot
from transferflow.data.snapshot.manifest import read_table

_COLUMNS = ["id", "sha256", "split", "labels", "boxes", "mask_sha256"]
_BATCH = 10_000
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """One image that both snapshots hold, before and after."""

    id: str
    old: str
    new: str


@dataclass(frozen=True)
class Shift:
    """How a number per image is distributed in two snapshots.

    Attributes:
        old_mean: Mean in the old one.
        new_mean: Mean in the new one.
        statistic: Largest distance of the two distribution functions (Kolmogorov-Smirnov), 0 to 1.
        p_value: Chance of such a distance if nothing had shifted.
    """

    old_mean: float
    new_mean: float
    statistic: float
    p_value: float


@dataclass(frozen=True)
class ClassShift:
    """How the classes are distributed in two snapshots.

    Attributes:
        old: Count per class in the old one.
        new: Count per class in the new one.
        statistic: Pearson's chi-square of the two rows of counts.
        p_value: Chance of such a statistic if the shares had not shifted.
        cramers_v: Size of the effect, 0 to 1, whatever the number of images.
    """

    old: Mapping[str, int]
    new: Mapping[str, int]
    statistic: float
    p_value: float
    cramers_v: float


@dataclass(frozen=True)
class SnapshotDiff:
    """What changed from one snapshot to another.

    Attributes:
        old: Fingerprint of the old snapshot.
        new: Fingerprint of the new one.
        kept: Number of images that both hold.
        added: Ids of images whose content is new.
        removed: Ids of images whose content is gone.
        renamed: Images of the same content under another id.
        edited: Images of the same id whose content changed (by sha256).
        relabelled: Images whose labels, boxes or mask changed.
        moved: Images that changed split.
        classes: Class shift; counts are images, or boxes.
        size: Shift of the geometric mean of width and height, in pixels.
        brightness: Shift of the mean brightness, 0 to 1.
    """

    old: str
    new: str
    kept: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[Change, ...]
    edited: tuple[Change, ...]
    relabelled: tuple[Change, ...]
    moved: tuple[Change, ...]
    classes: ClassShift
    size: Shift
    brightness: Shift

    @property
    def changed(self) -> int:
        """Number of images that a model has not seen as they are now, or has seen and are gone."""
        return len(self.added) + len(self.removed) + len({c.id for c in self.relabelled + self.edited})

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self) | {"changed": self.changed}


def compare_snapshots(old: DatasetSnapshot, new: DatasetSnapshot) -> SnapshotDiff:
    """Compare two snapshots.

    Images are matched by id, and the rest by content, so that a renamed image is neither added nor removed.

    Raises:
        DataError: If a manifest can't be read.
    """
    before, after = read_table(old, _COLUMNS), read_table(new, _COLUMNS)
    by_id = pc.index_in(after["id"], value_set=before["id"])
    rest = after.filter(pc.is_null(by_id))
    gone = before.filter(pc.invert(pc.is_in(before["id"], value_set=after["id"])))
    by_content = pc.index_in(rest["sha256"], value_set=gone["sha256"])
    same_id = after.filter(pc.is_valid(by_id)), before.take(pc.drop_null(by_id))
    same_content = rest.filter(pc.is_valid(by_content)), gone.take(pc.drop_null(by_content))
    still_there = pc.is_in(gone["sha256"], value_set=rest["sha256"])
    return SnapshotDiff(
        old=old.fingerprint,
        new=new.fingerprint,
        kept=len(same_id[0]) + len(same_content[0]),
        added=tuple(rest.filter(pc.is_null(by_content))["id"].to_pylist()),
        removed=tuple(gone.filter(pc.invert(still_there))["id"].to_pylist()),
        renamed=_changes(*same_content, "id"),
        edited=_changes(*same_id, "sha256"),
        relabelled=(*_relabelled(*same_id), *_relabelled(*same_content)),
        moved=(*_changes(*same_id, "split"), *_changes(*same_content, "split")),
        classes=compare_classes(_totals(old), _totals(new)),
        size=_compare_numbers(_sizes(old), _sizes(new)),
        brightness=_compare_numbers(_brightness(old), _brightness(new)),
    )


def _changes(after: pa.Table, before: pa.Table, column: str) -> tuple[Change, ...]:
    differs = pc.not_equal(after[column], before[column])
    rows = (after.filter(differs)["id"], before.filter(differs)[column], after.filter(differs)[column])
    return tuple(Change(*values) for values in zip(*(row.to_pylist() for row in rows), strict=True))


def _relabelled(after: pa.Table, before: pa.Table) -> Iterator[Change]:
    columns = ["labels", "boxes", "mask_sha256"]
    for start in range(0, len(after), _BATCH):
        new_rows = after.slice(start, _BATCH)
        old_rows = before.slice(start, _BATCH).select(columns).to_pylist()
        ids = new_rows["id"].to_pylist()
        for name, new, old in zip(ids, new_rows.select(columns).to_pylist(), old_rows, strict=True):
            if new != old and _taught(new) != _taught(old):
                yield Change(name, _show(old), _show(new))


def _taught(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a model learns of a row: areas only sort boxes by size, and older snapshots have none."""
    boxes = [{key: box[key] for key in box if key != "area"} for box in row["boxes"] or ()]
    return {**row, "boxes": boxes}


def _show(row: Mapping[str, Any]) -> str:
    if row["boxes"]:
        labels = sorted(box["label"] for box in row["boxes"])
        return f"{len(labels)} boxes: {', '.join(dict.fromkeys(labels))}"
    if row["mask_sha256"]:
        return f"mask {row['mask_sha256'][:12]}"
    return ", ".join(row["labels"] or ()) or "no label"


def _totals(snapshot: DatasetSnapshot) -> dict[str, int]:
    return {
        label: sum(snapshot.class_counts[split].get(label, 0) for split in SPLITS)
        for label in snapshot.classes
    }


def compare_classes(old: Mapping[str, int], new: Mapping[str, int]) -> ClassShift:
    """Chi-square test of homogeneity of two rows of class counts."""
    names = [name for name in dict.fromkeys((*old, *new)) if old.get(name, 0) + new.get(name, 0)]
    rows = np.array([[counts.get(name, 0) for name in names] for counts in (old, new)])
    if len(names) < 2 or not rows.sum(axis=1).all():
        return ClassShift(dict(old), dict(new), 0.0, 1.0, 0.0)
    result = stats.chi2_contingency(rows, correction=False)
    statistic = float(result.statistic)
    return ClassShift(
        dict(old), dict(new), statistic, float(result.pvalue), float(np.sqrt(statistic / rows.sum()))
    )


def _sizes(snapshot: DatasetSnapshot) -> Numbers:
    table = read_table(snapshot, ["width", "height"])
    areas: Numbers = table["width"].to_numpy().astype(np.float64) * table["height"].to_numpy()
    return np.sqrt(areas)


def _brightness(snapshot: DatasetSnapshot) -> Numbers:
    values: Numbers = read_table(snapshot, ["brightness"])["brightness"].to_numpy().astype(np.float64)
    return values


def _compare_numbers(old: Numbers, new: Numbers) -> Shift:
    if not len(old) or not len(new):
        return Shift(0.0, 0.0, 0.0, 1.0)
    result = stats.ks_2samp(old, new, method="asymp")
    return Shift(float(old.mean()), float(new.mean()), float(result.statistic), float(result.pvalue))
