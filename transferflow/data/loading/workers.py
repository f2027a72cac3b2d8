"""How many CPUs there are to work with, and what that means for loading images."""

from __future__ import annotations

import os
from typing import Literal

_MAX_WORKERS = 8


def usable_cpus() -> int:
    """CPUs that this process may run on: a container or a scheduler may grant fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decide_workers(asked: int | Literal["auto"], cheap: bool, cpus: int) -> int:
    """Number of loader processes: as asked, none where loading is cheap, else one CPU stays free."""
    if asked != "auto":
        return asked
    return 0 if cheap else min(_MAX_WORKERS, cpus - 1)
