"""A single rank: a child process that gets the signals of the process that waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from types import FrameType

from transferflow.training.loop.stopping import install

_STOPS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):  # noqa: N818  the end that was asked for
    """A signal came, and the child has ended."""


def run_one(words: Sequence[str]) -> int:
    """Run a command, hand signals on to it, and wait for it.

    Args:
        words: The command.

    Returns:
        Its exit code; minus the number of the signal that ended it.

    Raises:
        Stopped: If it was to stop, and did.
    """
    came: list[int] = []
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    def hand_on(number: int, frame: FrameType | None) -> None:
        came.append(number)
        child.send_signal(number)

    before = install(dict.fromkeys(_STOPS, note))
    try:
        with subprocess.Popen(words, env=os.environ | alone) as child:
            install(dict.fromkeys(_STOPS, hand_on))
            if came:
                child.send_signal(came[0])
            code = child.wait()
    finally:
        install(before)
    if came:
        raise Stopped
    return code
