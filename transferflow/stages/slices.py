"""From `evaluation.slices` to the slice of each test image: columns are read, numbers put into bins."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from transferflow.data.files.fence import build_fence
from transferflow.data.formats.columns import load_columns
from transferflow.data.formats.table import is_number
from transferflow.data.records import DatasetSnapshot, Listing
from transferflow.data.snapshot.manifest import read_table
from transferflow.errors import DataError
from transferflow.evaluation.slices import Slicing
from transferflow.limits import MAX_SLICES
from transferflow.spec import ExperimentSpec
from transferflow.spec.sections.slices import OWN_SLICES, Slices

IMAGE_SIZE_BINS = (256.0, 512.0, 1024.0, 2048.0)
"""Borders of `image_size`, in pixels of the longer side."""
NONE = "(none)"
_KEY = "evaluation.slices"


def require_known_slices(spec: ExperimentSpec, listing: Listing) -> None:
    """Refuse slices that the data can't tell, before anything is trained for them.

    Args:
        spec: The spec.
        listing: The images, with their groups.

    Raises:
        DataError: If a column is not there, holds too many values, or no numbers where bins ask for them.
    """
    cells = _cells(spec)
    for number, one in enumerate(spec.evaluation.slices):
        values = {record.group for record in listing.records if record.group} if one.by == "group" else ()
        _names(one, sorted(set(cells[number].values() if number in cells else values)), number)


def read_slices(spec: ExperimentSpec, snapshot: DatasetSnapshot) -> tuple[Slicing, ...]:
    """Which slice each test image is in; an image of which nothing is said is in `(none)`.

    Raises:
        DataError: As `require_known_slices`.
    """
    if not spec.evaluation.slices:
        return ()
    table = read_table(snapshot, ["id", "split", "group", "width", "height"])
    rows = [row for row in table.to_pylist() if row["split"] == "test"]
    cells = _cells(spec)
    found = []
    for number, one in enumerate(spec.evaluation.slices):
        if one.by == "group":
            values = [row["group"] or "" for row in rows]
        elif one.by == "image_size":
            values = [str(max(row["width"], row["height"])) for row in rows]
        else:
            values = [cells[number].get(row["id"], "") for row in rows]
        found.append(_slicing(one, values, number))
    return tuple(found)


def _cells(spec: ExperimentSpec) -> dict[int, Mapping[str, str]]:
    """What the columns say of each image, by number of the slicing."""
    asked = {number: one.by for number, one in enumerate(spec.evaluation.slices) if one.by not in OWN_SLICES}
    if not asked:
        return {}
    fence = build_fence(spec.data.root, spec.data.link_roots)
    columns = load_columns(spec.data, fence, list(asked.values()), _KEY)
    return {number: columns[by] for number, by in asked.items()}


def _slicing(one: Slices, values: Sequence[str], number: int) -> Slicing:
    named = _names(one, sorted(set(values) - {""}), number) | {"": NONE}
    order = {name: place for place, name in enumerate(dict.fromkeys(named.values()))}
    return Slicing(one.by, tuple(order), tuple(order[named[value]] for value in values), one.min_images)


def _names(one: Slices, values: Sequence[str], number: int) -> dict[str, str]:
    """Name of the slice that each value is in, in the order of the slices."""
    bins = one.bins or (IMAGE_SIZE_BINS if one.by == "image_size" else ())
    if not bins:
        if len(values) > MAX_SLICES:
            raise DataError(
                f"the column {one.by!r} has too many values to slice by",
                where=f"{_KEY}.{number}",
                found=f"{len(values):,}, such as {', '.join(values[:3])}",
                allowed=f"at most {MAX_SLICES}",
                hint="set `bins` for a column of numbers, as in `bins: [40, 60]`",
            )
        return {value: value for value in values}
    wrong = [value for value in values if not is_number(value)]
    if wrong:
        raise DataError(
            f"the column {one.by!r} holds something else than numbers",
            where=f"{_KEY}.{number}.bins",
            found=", ".join(map(repr, wrong[:3])),
            hint="leave `bins` out to slice by each value",
        )
    return {value: _bin(float(value), bins) for value in sorted(values, key=float)}


def _bin(value: float, bins: Sequence[float]) -> str:
    place = bisect_right(bins, value)
    if place == 0:
        return f"below {bins[0]:g}"
    return f"{bins[-1]:g} or more" if place == len(bins) else f"{bins[place - 1]:g} to {bins[place]:g}"
