"""Control groups of Linux: what a container or a scheduler grants of a machine; loads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PROC, ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
"""Which groups this process is in, and where they are mounted."""


def group_folders(controller: str, proc: Path = PROC, root: Path = ROOT) -> Iterator[Path]:
    """Folders of this process's group and of those around it, whose limits all hold.

    In a container the first ones may not be mounted, and outside Linux there are none.

    Args:
        controller: Such as `cpu` or `memory`; version 2 has one folder for all of them.
        proc: Says which groups the process is in.
        root: Where groups are mounted, of version 1 or 2.
    """
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for mount in dict.fromkeys((controllers, controller)) if controllers else ("", "unified"):
            inside = root / mount / path.strip("/")
            yield from (f for f in (inside, *inside.parents) if f.is_relative_to(root / mount))


def memory_limit(proc: Path = PROC, root: Path = ROOT) -> int | None:
    """Bytes of memory that this process's group, or one around it, may take; `None` without a limit."""
    found = [
        int(text)
        for folder in group_folders("memory", proc, root)
        for name in ("memory.max", "memory.limit_in_bytes")
        if (text := _read(folder / name)).isdecimal()  # else `max`, or no such file
    ]
    return min(found, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
