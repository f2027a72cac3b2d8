"""The folder through which a training and the processes that do it talk: JSON, and nothing that is executed.

```
job.json        what to train
place.json      this node among several
log.jsonl       log lines, one each
error.json      the error that ended it, by the first process that had one
crash-1.json    traceback of a rank that ended in a way that nobody has foreseen, and when that was
crash.json      on one of several nodes: the crash that ended its ranks
```
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transferflow.errors import Problem, TransferflowError
from transferflow.store import write_atomic
from transferflow.training.distributed.addresses import ONLY, Place


@dataclass(frozen=True)
class Exchange:
    """One launch's folder."""

    folder: Path

    @property
    def _error(self) -> Path:
        return self.folder / "error.json"

    @property
    def _log(self) -> Path:
        return self.folder / "log.jsonl"

    def write_job(self, job: Mapping[str, Any]) -> None:
        """Begin."""
        write_atomic(self.folder / "job.json", json.dumps(job))

    def read_job(self) -> dict[str, Any]:
        """What to train."""
        job: dict[str, Any] = json.loads((self.folder / "job.json").read_text("utf-8"))
        return job

    def write_place(self, place: Place) -> None:
        """Say where among several nodes this is."""
        write_atomic(self.folder / "place.json", json.dumps(asdict(place)))

    def read_place(self) -> Place:
        """Where among several nodes this is; the only one where nothing was said."""
        with suppress(FileNotFoundError):
            return Place(**json.loads((self.folder / "place.json").read_text("utf-8")))
        return ONLY

    def tell_error(self, error: TransferflowError) -> None:
        """Say what ended the training, unless another process has done so."""
        if not self.has_error():
            write_atomic(self._error, json.dumps(error_as_json(error)))

    def has_error(self) -> bool:
        """Whether an error has ended the training."""
        return self._error.exists()

    def read_error(self) -> TransferflowError | None:
        """The error that ended the training, as it was raised; `None` if there was none."""
        if not self.has_error():
            return None
        return error_from_json(json.loads(self._error.read_text("utf-8")))

    def forget_error(self) -> None:
        """It was the end of an attempt, and not of the training."""
        self._error.unlink(missing_ok=True)

    def tell_crash(self, rank: int, trace: str) -> None:
        """Keep a traceback, and when it was told."""
        write_atomic(self._crash(rank), json.dumps([trace, time.time_ns()]))

    def take_crash(self, rank: int) -> tuple[str, int]:
        """A rank's traceback and when it was told, in ns since 1970; `("", 0)` if it left none.

        It is gone then: the next attempt has its own.
        """
        with suppress(OSError):
            trace, told_at = json.loads(self._crash(rank).read_text("utf-8"))
            self._crash(rank).unlink()
            return trace, told_at
        return "", 0

    def tell_end(self, crash: Mapping[str, Any]) -> None:
        """Say which crash ended the ranks of this node."""
        write_atomic(self.folder / "crash.json", json.dumps(crash))

    def read_end(self) -> dict[str, Any] | None:
        """The crash that ended the ranks of this node; `None` if there was none."""
        with suppress(OSError):
            crash: dict[str, Any] = json.loads((self.folder / "crash.json").read_text("utf-8"))
            return crash
        return None

    def tell_line(self, logger: str, level: int, text: str) -> None:
        """Say something to the person who waits."""
        line = json.dumps({"logger": logger, "level": level, "text": text}) + "\n"
        with self._log.open("a", encoding="utf-8") as stream:
            stream.write(line)  # in one piece, so that lines of several processes stay whole

    def lines(self) -> Iterator[None]:
        """Hand lines on to this process's loggers, as far as there are some; ask again for those to come."""
        done = 0
        while True:
            with suppress(OSError), self._log.open("rb") as stream:
                stream.seek(done)
                for line in stream:
                    if not line.endswith(b"\n"):
                        break  # it is being written
                    done += len(line)
                    _hand_on(json.loads(line))
            yield

    def _crash(self, rank: int) -> Path:
        return self.folder / f"crash-{rank}.json"


class LineHandler(logging.Handler):
    """Sends log records to the process that waits."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self._exchange = exchange

    def emit(self, record: logging.LogRecord) -> None:
        """Send one; a full disk is found by whoever saves."""
        with suppress(OSError):
            self._exchange.tell_line(record.name, record.levelno, record.getMessage())


def error_as_json(error: TransferflowError) -> dict[str, Any]:
    """An error as plain JSON, for another process to raise."""
    return {"kind": type(error).__name__, "problems": [asdict(problem) for problem in error.problems]}


def error_from_json(data: Mapping[str, Any]) -> TransferflowError:
    """The error that another process has told."""
    problems = [Problem(**problem) for problem in data["problems"]]
    return _error_class(data["kind"]).from_problems(problems)


def _hand_on(line: Mapping[str, Any]) -> None:
    name = line["logger"]  # of ours: the line was cleaned where it was written
    logging.getLogger(name).log(line["level"], "%s", line["text"])


def _error_class(name: str) -> type[TransferflowError]:
    waiting: list[type[TransferflowError]] = [TransferflowError]
    while waiting:
        found = waiting.pop()
        if found.__name__ == name:
            return found
        waiting += found.__subclasses__()
    return TransferflowError
