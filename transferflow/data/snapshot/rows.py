"""The images of a snapshot: a table of which each row is made into an object when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc

from transferflow.data.files.boxes import Seen
from transferflow.data.files.fence import Fence
from transferflow.data.files.paths import split_mask
from transferflow.data.records import Box, SplitName
from transferflow.errors import DataError
from transferflow.spec.sections.size import Size
from transferflow.store.mapped import MappedTable

_CHUNK = 10_000
"""Rows that are made at a time when all of them are walked through."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a snapshot.

    Attributes:
        id: Stable identity: the POSIX path below the root.
        path: POSIX path below the root.
        labels: Class names (classification), or the number as text (regression).
        boxes: Boxes in pixels of the image as it is seen (detection).
        mask: POSIX path of the mask below the root, or of a COCO file with `#<image id>` (segmentation).
        group: Patient, scene or the like.
        split: train, val or test.
        source: Where the format says so.
        sha256: Hash of the image file.
        width: Width in pixels as it is seen (EXIF orientation applied).
        height: Height in pixels as it is seen.
        orientation: EXIF orientation of the file, 1 to 8; width, height and boxes have it applied.
        mask_sha256: Hash of the mask file, or of the image's annotations in a COCO file.
        root: Folder of the data set.
        links: Folders outside it that its links may lead to.
    """

    id: str
    path: str
    labels: tuple[str, ...]
    boxes: tuple[Box, ...]
    mask: str | None
    group: str | None
    split: SplitName
    source: str
    sha256: str
    width: int
    height: int
    orientation: int
    mask_sha256: str | None
    root: Path
    links: tuple[Path, ...] = ()

    @property
    def number(self) -> float:
        """The number of the image, where that is its truth."""
        return float(self.labels[0])

    @property
    def seen(self) -> Seen:
        """Size and orientation, as `MaskFiles.read` needs them."""
        return Seen(self.width, self.height, self.orientation)

    @property
    def absolute_path(self) -> Path:
        """The image file.

        Raises:
            DataError: If it does not stand below the root, or where its links may lead.
        """
        return self._inside(self.path)

    @property
    def absolute_mask(self) -> Path | None:
        """The mask file (COCO: the annotation file).

        Raises:
            DataError: If it does not stand below the root, or where its links may lead.
        """
        return None if self.mask is None else self._inside(split_mask(self.mask)[0])

    def _inside(self, path: str) -> Path:
        found = self.root / path
        if not Fence(self.root.resolve(), self.links).holds(found):
            raise DataError("a path leaves the data folder", where=str(self.root), found=path)
        return found.resolve()


COLUMNS = tuple(field.name for field in fields(Row) if field.name not in ("root", "links"))
"""Columns of the manifest that rows are made from."""


class Rows(Sequence[Row]):
    """The images of a snapshot, or some of them, in an order; never changed.

    They lie in an Arrow table, which loader processes share: a million objects would be copied into each of
    them, a page at a time, as their reference counts are written to. A row takes some microseconds to be
    made; whoever needs one value of many rows asks for just that.
    """

    __slots__ = ("_columns", "_links", "_root", "_shared")

    def __init__(self, shared: MappedTable, root: Path, links: tuple[Path, ...]) -> None:
        """Nothing is read or copied.

        Args:
            shared: With `COLUMNS`, at least.
            root: Folder of the data set.
            links: Folders outside it that its links may lead to.
        """
        self._shared, self._root, self._links = shared, root, links
        self._columns = {name: shared.table[name] for name in COLUMNS}

    def __reduce__(self) -> tuple[Callable[..., Rows], tuple[MappedTable, Path, tuple[Path, ...]]]:
        return Rows, (self._shared, self._root, self._links)

    def __len__(self) -> int:
        return len(self._shared.table)

    def __iter__(self) -> Iterator[Row]:
        for batch in self._shared.table.select(list(COLUMNS)).to_batches(max_chunksize=_CHUNK):
            yield from map(self._made, batch.to_pylist())

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> Rows: ...

    def __getitem__(self, place: int | slice) -> Row | Rows:
        chosen = range(len(self))[place]
        if isinstance(chosen, int):  # value by value takes a third of the time that a slice of one row takes
            return self._made({name: column[chosen].as_py() for name, column in self._columns.items()})
        table = self._shared.table
        is_run = chosen.step == 1
        found = table.slice(chosen.start, len(chosen)) if is_run else table.take(pa.array(chosen, pa.int64()))
        return Rows(MappedTable(found), self._root, self._links)

    def _made(self, values: dict[str, Any]) -> Row:
        boxes = tuple(Box(**box) for box in values.pop("boxes"))
        labels = tuple(values.pop("labels"))
        return Row(**values, labels=labels, boxes=boxes, root=self._root, links=self._links)

    def id(self, place: int) -> str:
        """`Row.id` of one row."""
        found: str = self._columns["id"][place].as_py()
        return found

    def content(self, place: int) -> str:
        """What an image and its mask hold, whatever they are called and whenever they were written."""
        image, mask = (self._columns[name][place].as_py() for name in ("sha256", "mask_sha256"))
        return _content(image, mask)

    def contents(self) -> list[str]:
        """`content` of each row."""
        return list(map(_content, self.column("sha256"), self.column("mask_sha256")))

    def sizes(self) -> list[Size]:
        """Height and width in pixels of each image as it is seen."""
        return list(zip(self.column("height"), self.column("width"), strict=True))

    def box_counts(self) -> list[int]:
        """How many boxes each row has."""
        found: list[int] = pc.list_value_length(self._columns["boxes"]).to_pylist()
        return found

    def numbers(self) -> list[float]:
        """`Row.number` of each row."""
        return [float(labels[0]) for labels in self.column("labels")]

    def column(self, name: str) -> list[Any]:
        """A field of each row by its name, but for lists in place of tuples."""
        found: list[Any] = self._columns[name].to_pylist()
        return found


def _content(image: str, mask: str | None) -> str:
    return image if mask is None else f"{image}:{mask}"
