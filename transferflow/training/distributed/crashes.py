"""How ranks end that nobody has asked to, which of several ends is the reason, and what is said of it."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from transferflow.errors import TrainingError

_TRACE_LINES = 12
_LOST_ANOTHER = re.compile(r"third_party/gloo|\bDist(Backend|Network|Store)Error\b")
"""Last line of a traceback that came of another rank's end."""
LAUNCH = -1
"""In place of a rank: what starts the ranks."""


@dataclass(frozen=True)
class Crash:
    """How a rank ended that nobody had asked to.

    Attributes:
        rank: Which one; `LAUNCH` for what starts them.
        exit_code: Of its process; minus the number of the signal that ended it.
        trace: Its traceback; empty without one.
        told_at: When it told that, in ns since 1970.
        node: Name of the node that it ran on, where there are several.
        lost: Why the whole node is gone, if it is.
    """

    rank: int
    exit_code: int
    trace: str = ""
    told_at: int = 0
    node: str = ""
    lost: str = ""

    def __str__(self) -> str:
        if self.lost:
            return f"the node {self.node} {self.lost}"
        who = "what starts the processes" if self.rank == LAUNCH else f"the process of device {self.rank}"
        where = f" on {self.node}" if self.node else ""
        return f"{who}{where} {self._how()}"

    def _how(self) -> str:
        if self.exit_code < 0:
            return f"was ended by {signal.Signals(-self.exit_code).name}"
        if self.trace:
            return f"raised {self.last_line}"
        return f"ended with exit code {self.exit_code}"

    @property
    def last_line(self) -> str:
        """What the traceback comes down to; empty without one."""
        return (self.trace.strip().splitlines() or [""])[-1]


def decide_root(crashes: Sequence[Crash]) -> Crash:
    """The crash that the others came of: a process that was ended takes the connections of the others along.

    SIGTERM is what the elastic agent ends the others with. A rank tells its traceback before it ends, so
    those that lost their connection to it tell theirs later, by their machine's clock, and say so.

    Args:
        crashes: In the order in which they were found; at least one.
    """

    def likelihood(crash: Crash) -> tuple[bool, bool, bool, bool, int]:
        was_ended = crash.rank != LAUNCH and crash.exit_code < 0 and crash.exit_code != -signal.SIGTERM
        raised = bool(crash.trace)
        own = raised and not _LOST_ANOTHER.search(crash.last_line)
        return bool(crash.lost), was_ended, own, raised, -crash.told_at

    return max(crashes, key=likelihood)  # the first of equals


def describe_end(crash: Crash, restarts: int) -> TrainingError:
    """The error when there is no restart left."""
    again = "memory: use fewer devices or training.workers, or a smaller training.batch_size"
    killed = crash.exit_code == -signal.SIGKILL
    trace = "\n".join(crash.trace.strip().splitlines()[-_TRACE_LINES:])
    times = f" again after {restarts} restart{'' if restarts == 1 else 's'}" if restarts else ""
    everywhere = " on all nodes" if crash.node else ""
    return TrainingError(
        f"{crash}{times}, and training.max_restarts allows no more",
        found=trace,
        hint=(f"SIGKILL often means that the machine ran out of {again}; " if killed else "")
        + f"run the same command again{everywhere}: it goes on from the last checkpoint",
    )
