"""The points of a training in a file: appended by its thread, shipped by others at their own pace.

```
<home>/tracking/train/<key>/points.jsonl      a point a line; nothing in it is executed
<home>/tracking/train/<key>/id                tells this file from one of another home, or a later one
<home>/tracking/train/<key>/shipped-*.json    how far a registry has them
<home>/tracking/train/<key>/shipping.lock     held by whoever ships
```
"""

from __future__ import annotations

import json
import math
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from transferflow.store import write_atomic
from transferflow.store.file_locks import file_lock
from transferflow.store.files import open_regular

Family = Literal["step", "epoch"]
_CHUNK = 1 << 20
"""Bytes that are read at once, and the longest line: ours have some hundreds."""
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Point:
    """Figures of one moment.

    Attributes:
        family: Whether they are of a step or of a whole epoch.
        step: Steps taken so far, or the number of the epoch from 0.
        time: When, in ms since 1970.
        values: By name; all finite.
    """

    family: Family
    step: int
    time: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Shipped:
    """How far a tracking store has the points.

    Attributes:
        run: Its run that has them.
        sent: Bytes of the file that it has for sure.
        doubtful: Whether it may have more: whoever sent them did not hear of it.
    """

    run: str
    sent: int = 0
    doubtful: bool = True


class Spool:
    """The points of one training; one process appends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "points.jsonl"

    @property
    def identity(self) -> str:
        """What tells it from others; empty while nothing was begun, or where it is damaged."""
        with suppress(OSError, ValueError):
            found = (self.folder / "id").read_text("ascii").strip()
            return found if _ID.fullmatch(found) else ""
        return ""

    def begin(self) -> dict[Family, set[int]]:
        """Make the file, or go on with it; returns the steps of each family that are there.

        Raises:
            OSError: If it can't be read or written.
        """
        if not self.identity:
            write_atomic(self.folder / "id", uuid.uuid4().hex)
        told: dict[Family, set[int]] = {"step": set(), "epoch": set()}
        whole = 0
        for points, end in self._chunks():
            for point in points:
                told[point.family].add(point.step)
            whole = end
        with self._file.open("ab") as stream:
            stream.truncate(whole)  # a line that a kill has cut off
        return told

    def append(self, point: Point) -> None:
        """Add a point: one write to the page cache, which nothing waits for.

        Raises:
            OSError: If the disk is full and the like.
        """
        line = json.dumps(asdict(point), separators=(",", ":")).encode() + b"\n"
        number = os.open(self._file, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(number, line)
        finally:
            os.close(number)

    def read(self, start: int) -> tuple[list[Point], int]:
        """Some of the points from a place on, and the place after them; what is damaged is passed over.

        Raises:
            OSError: If it can't be read.
        """
        with open_regular(self._file) as stream:
            stream.seek(start)
            data = stream.read(_CHUNK)
        end = data.rfind(b"\n") + 1
        if not end and len(data) == _CHUNK:
            end = _CHUNK  # no line of ours
        found = (_parse(line) for line in data[:end].splitlines())
        return [point for point in found if point is not None], start + end

    def sync(self) -> None:
        """Flush it to the disk: what others have must not be lost here, or it would be sent again.

        Raises:
            OSError: If that fails.
        """
        with self._file.open("rb+") as stream:
            os.fsync(stream.fileno())

    @property
    def size(self) -> int:
        """Its bytes; 0 where there is none."""
        with suppress(OSError):
            return self._file.stat().st_size
        return 0

    @contextmanager
    def shipping(self) -> Iterator[None]:
        """Ship alone for the length of the block."""
        with file_lock(self.folder / "shipping.lock"):
            yield

    def load_shipped(self, place: str) -> Shipped:
        """How far the store called `place` has the points, as far as is known here."""
        try:
            data = json.loads((self.folder / f"shipped-{place}.json").read_text("utf-8"))
            return Shipped(str(data["run"]), int(data["sent"]), bool(data["doubtful"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Shipped("")

    def save_shipped(self, place: str, shipped: Shipped) -> None:
        """Remember it."""
        write_atomic(self.folder / f"shipped-{place}.json", json.dumps(asdict(shipped)))

    def _chunks(self) -> Iterator[tuple[list[Point], int]]:
        start = 0
        while self._file.exists():
            points, end = self.read(start)
            if end == start:
                return
            yield points, end
            start = end


def _parse(line: bytes) -> Point | None:
    """A point, or `None` for what is none."""
    try:
        data = json.loads(line)
        values = {str(name): float(value) for name, value in data["values"].items()}
        family, step, time = data["family"], int(data["step"]), int(data["time"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None
    if family not in ("step", "epoch") or not (0 <= step < 2**53 and 0 <= time < 2**53):
        return None
    return Point(family, step, time, {name: value for name, value in values.items() if math.isfinite(value)})
