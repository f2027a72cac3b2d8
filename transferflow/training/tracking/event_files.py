"""TensorBoard's event files, written from a spool by TensorBoard's own writer.

It is the one that `torch.utils.tensorboard` uses, which would load torch: the process that writes has no use
for it.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from transferflow.errors import MissingDependencyError
from transferflow.training.tracking.spool import Point, Spool

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter


def require_tensorboard() -> None:
    """Refuse to begin what could not be watched.

    Raises:
        MissingDependencyError: If TensorBoard is not installed.
    """
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "event files need TensorBoard, which is not installed",
            where="tracking.tensorboard",
            hint="pip install 'transferflow[tensorboard]'",
        ) from error


class EventFiles:
    """A folder of event files whose last one holds each point of a spool once.

    Whoever goes on writes a new file from the first point on, and empties the former one: what a kill left
    in that is not known. A TensorBoard that is open meanwhile is told to forget what it has seen.

    Args:
        root: Folder of all event files of a home.
        run: The training's own in it.
        spool: The points.
    """

    def __init__(self, root: Path, run: str, spool: Spool) -> None:
        self._root, self._folder, self._spool = root, root / run, spool
        self._writer: EventFileWriter | None = None
        self._sent = 0

    @property
    def address(self) -> str:
        """What shows them."""
        return f"tensorboard --logdir {shlex.quote(str(self._root))}"

    def send(self) -> None:
        """Write what has come since.

        Raises:
            OSError: If the file can't be written.
        """
        try:
            self._send()
        except BaseException:
            self._writer, self._sent = None, 0  # what the file holds is not known
            raise

    def close(self, *, finished: bool) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()

    def _send(self) -> None:
        writer = self._writer = self._writer or self._begin()
        while True:
            points, end = self._spool.read(self._sent)
            if end == self._sent:
                break
            for point in points:
                writer.add_event(_event_of(point))
            self._sent = end
        writer.flush()

    def _begin(self) -> EventFileWriter:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        former = list(self._folder.glob("events.out.tfevents.*"))
        writer = EventFileWriter(str(self._folder))
        writer.add_event(Event(step=0, session_log=SessionLog(status=SessionLog.START)))
        writer.flush()
        for file in former:
            os.truncate(file, 0)  # a TensorBoard that has it open never gets past one that is gone
        return writer


def _event_of(point: Point) -> Event:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [
        Summary.Value(tag=f"{point.family}/{name}", simple_value=value)
        for name, value in point.values.items()
    ]
    return Event(wall_time=point.time / 1000, step=point.step, summary=Summary(value=values))
