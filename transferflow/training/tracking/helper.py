"""A process that ships points while the training goes on, and what it has to say.

It is a process, and no thread: importing MLflow alone would keep the training's thread waiting for seconds,
and a server that hangs could keep the end of the training waiting. It hears of the end by its standard input,
also when the training is killed: then the pipe closes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from transferflow.logs import get_logger

logger = get_logger("training")
FINISHED, STOPPED = "finished", "stopped"
_GRACE_SECONDS = 5.0
"""Longest wait at the end: what is not shipped by then is shipped by the register stage, or later."""
_POLL_SECONDS = 0.2
_LEAST_URGENT = 10


class Helper:
    """The training's side.

    Args:
        words: What Python is given to start it.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._said: deque[bytes] = deque()

    def start(self) -> None:
        """Start it; where that fails, the points wait for the register stage."""
        # A session of its own: ctrl-C in the terminal reaches the training alone, which decides.
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", *self._words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            logger.warning("tracking: nothing is shown while the training goes on (%s)", error)
            return
        if self._process.stdout is not None:
            # By its name, `data.loading.starting` knows that it holds no lock but that of the pipe.
            told = (self._process.stdout, self._said)
            self._reader = threading.Thread(target=_collect, name="transferflow-read", args=told, daemon=True)
            self._reader.start()

    def end(self, *, finished: bool) -> None:
        """Let it ship what is left, for a short while.

        Args:
            finished: Whether the training is at its end.
        """
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(OSError, ValueError):  # it may have ended
            if process.stdin is not None:
                process.stdin.write(f"{FINISHED if finished else STOPPED}\n".encode())
                process.stdin.close()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            who = "the register stage sends it" if finished else "it is sent when the training goes on"
            logger.warning("tracking: what was not taken within %.0f s is kept: %s", _GRACE_SECONDS, who)
        if self._reader is not None:
            self._reader.join()
        self.tell()

    def tell(self) -> None:
        """Hand on what it has said to this process's loggers, in the thread that they know."""
        while self._said:
            with suppress(ValueError):
                level, text = json.loads(self._said.popleft())
                logger.log(level, "tracking: %s", text)


def say(level: int, text: str) -> None:
    """Say something to the training's side; for the helper."""
    with suppress(OSError, ValueError):  # it may be gone
        sys.stdout.write(json.dumps([level, text]) + "\n")
        sys.stdout.flush()


class Ending:
    """The helper's side: hears when the training ends, or is gone."""

    def __init__(self) -> None:
        if hasattr(os, "nice"):
            os.nice(_LEAST_URGENT)  # the training goes first
        self._parent = os.getppid()
        self._word = ""
        self._heard = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return self._word == FINISHED

    def wait(self, seconds: float) -> bool:
        """Wait for the end at most so long; returns whether it came."""
        until = time.monotonic() + seconds
        while not self._heard.is_set() and os.getppid() == self._parent:
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._heard.wait(min(left, _POLL_SECONDS))
        return True

    def _listen(self) -> None:
        self._word = sys.stdin.readline().strip()
        self._heard.set()


def _collect(stream: IO[bytes], said: deque[bytes]) -> None:
    for line in stream:
        said.append(line)
