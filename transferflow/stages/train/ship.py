"""The process that ships a training's points to whoever shows them.

It is run as `python -m transferflow.stages.train.ship JOB`, with JSON as `stages.train.tracking` hands it
over, and hears of the end by its standard input.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from transferflow.errors import TransferflowError, root_reason
from transferflow.registry.mlflow_live import LiveRun, MlflowLive
from transferflow.stages.context import RunContext
from transferflow.training.tracking.event_files import EventFiles
from transferflow.training.tracking.helper import Ending, say
from transferflow.training.tracking.spool import Spool

INTERVAL_SECONDS = 2.0
"""Between two looks at what has come: a person who watches sees no difference."""
_LONGEST_PAUSE = 30.0
_SETTINGS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""Who tries again is this process, and it may not hang when the training ends."""


class Sink(Protocol):
    """Where points go."""

    @property
    def address(self) -> str:
        """What shows them to a person; empty if there is nothing."""
        ...

    def send(self) -> None:
        """Send what it has not yet."""
        ...

    def close(self, *, finished: bool) -> None:
        """Say that the training has ended."""
        ...


class Courier:
    """Brings points to one sink, and tries again, after longer and longer pauses, where it fails.

    Args:
        sink: Where they go.
        name: What it is called in words.
        say: Tells a level and a text to the person who waits.
    """

    def __init__(self, sink: Sink, name: str, say: Callable[[int, str], None]) -> None:
        self._sink, self._name, self._say = sink, name, say
        self._due = self._pause = 0.0
        self._reason = self._address = ""

    def run(self, now: float) -> None:
        """Send, unless a pause lasts; `now` in seconds."""
        if now < self._due:
            return
        try:
            self._send()
        except (TransferflowError, OSError) as error:
            self._pause = min(max(1.0, 2 * self._pause), _LONGEST_PAUSE)
            self._due = now + self._pause
            self._tell(_reason_of(error))
        else:
            self._due = self._pause = 0.0
            self._tell("")

    def end(self, *, finished: bool) -> None:
        """Try a last time, and say what becomes of the rest."""
        self._due = 0.0
        try:
            self._send()
            self._sink.close(finished=finished)
        except (TransferflowError, OSError) as error:
            who = "the register stage sends it" if finished else "it is sent when the training goes on"
            self._say(
                logging.WARNING, f"not all points have reached {self._name} ({_reason_of(error)}): {who}"
            )

    def _send(self) -> None:
        self._sink.send()
        if self._sink.address != self._address:
            self._address = self._sink.address
            self._say(logging.INFO, f"{self._name} shows this training: {self._address}")

    def _tell(self, reason: str) -> None:
        if reason and not self._reason:
            text = f"{self._name} takes no points ({reason}): they are kept, and sent when it does"
            self._say(logging.WARNING, text)
        elif self._reason and not reason:
            self._say(logging.INFO, f"{self._name} has all points again")
        self._reason = reason


def ship(job: Mapping[str, Any], ending: Ending) -> None:
    """Ship until the training ends, or is gone.

    Args:
        job: As `stages.train.tracking` hands it over.
        ending: Hears of the end.
    """
    context = RunContext(Path(job["home"]), job["tracking_uri"])
    spool = Spool(context.points(job["train_key"]))
    couriers = [Courier(sink, name, say) for sink, name in _sinks(job, context, spool)]
    while not ending.wait(INTERVAL_SECONDS):
        if spool.identity:  # otherwise the home is gone, and is not to come back by us
            for courier in couriers:
                courier.run(time.monotonic())
    if spool.identity:
        for courier in couriers:
            courier.end(finished=ending.finished)


def _sinks(job: Mapping[str, Any], context: RunContext, spool: Spool) -> Iterator[tuple[Sink, str]]:
    if job["event_files"] is not None:
        yield EventFiles(context.event_files, job["event_files"], spool), "TensorBoard"
    if job["mlflow"]:
        registry = context.registry
        run = LiveRun(job["model"], job["run_name"], job["train_key"])
        yield MlflowLive(registry, run, spool), "MLflow"


def _reason_of(error: Exception) -> str:
    found = error.problems[0].found if isinstance(error, TransferflowError) else ""
    return found or root_reason(error)


def main(words: str) -> None:
    """Run as a command; see the module."""
    os.environ.update(_SETTINGS)  # the training's process may have set longer waits for itself
    ship(json.loads(words), Ending())


if __name__ == "__main__":
    main(sys.argv[1])
