"""CPUs that this process may use, and how the threads of PyTorch use them; loads nothing.

Affinity says which CPUs a process may run on, a cgroup's quota for how long: a container with a quota of two
CPUs sees all 64 of its machine, and would start as many threads.
"""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from transferflow.cgroups import PROC, ROOT, group_folders

_THREADS, _SPINS, _WAITING = "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
_TOGETHER = "LOCAL_WORLD_SIZE"
_OURS = "TRANSFERFLOW_THREADS"
"""Holds the number of threads that was chosen here, so that nobody takes it for the user's wish."""
_CPU_FACTS = ("vendor_id", "model", "model name", "flags", "CPU implementer", "CPU part", "Features")
"""Lines of `/proc/cpuinfo` that tell one kind of CPU from another."""
_SPIN_COUNT = "1000"
"""How often a thread that waits for others looks again before it sleeps; `benchmarks/threads.py` measures it.

The default is so long that threads beside other busy processes do little but wait for each other.
"""


def usable_cpus() -> int:
    """CPUs that this process may use: a container or a scheduler may grant fewer than the machine has."""
    allowed, quota = _allowed_cpus(), cpu_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def own_cpus(environment: Mapping[str, str] = os.environ) -> int:
    """CPUs for this process, where several of this machine train one model together.

    Args:
        environment: Says how many there are, as PyTorch's elastic launch does.
    """
    together = environment.get(_TOGETHER, "")
    return max(1, usable_cpus() // max(1, int(together) if together.isdecimal() else 1))


def _allowed_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(proc: Path = PROC, root: Path = ROOT) -> float | None:
    """CPUs that the quota of this process's cgroup, or of one around it, is worth; `None` without one.

    Args:
        proc: See `group_folders`.
        root: See there.
    """
    found = [quota for folder in group_folders("cpu", proc, root) for quota in _quotas(folder)]
    return min(found, default=None)


def _quotas(folder: Path) -> Iterator[float]:
    """What the files of one cgroup say."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        if quota not in ("max", "-1"):
            yield int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return


def describe_cpu(cpuinfo: Path = PROC / "cpuinfo") -> str:
    """Name and abilities of the CPU, as far as the system tells.

    Args:
        cpuinfo: Where Linux tells.
    """
    try:
        first = cpuinfo.read_text().split("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "; ".join(line for line in first if line.partition(":")[0].strip() in _CPU_FACTS)


def apply_thread_settings() -> None:
    """Tell PyTorch's threads by the environment, before it is loaded; nothing where it is loaded already."""
    if "torch" not in sys.modules:
        os.environ.update(decide_thread_settings(os.environ, _allowed_cpus(), usable_cpus()))


def decide_thread_settings(environment: Mapping[str, str], allowed: int, usable: int) -> dict[str, str]:
    """What to add to an environment; what the user says there holds.

    Args:
        environment: As it is.
        allowed: CPUs by affinity, which PyTorch sees by itself.
        usable: CPUs by affinity and quota.
    """
    settings: dict[str, str] = {}
    if usable < allowed and _THREADS not in environment:
        settings |= {_THREADS: str(usable), _OURS: str(usable)}
    if _SPINS not in environment and _WAITING not in environment:
        settings[_SPINS] = _SPIN_COUNT
    return settings


def shared_out(environment: Mapping[str, str], processes: int) -> dict[str, str]:
    """The environment of one of several processes that compute at once; what the user says in it holds."""
    mine = dict(environment)
    if mine.get(_THREADS) is None or mine[_THREADS] == mine.get(_OURS):
        mine[_THREADS] = str(max(1, usable_cpus() // processes))
    return mine
