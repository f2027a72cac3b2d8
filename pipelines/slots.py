"""GPUs of this machine, each taken by one run at a time; a machine without has one place.

```
<folder>/<UUID of the GPU>.lock   a file lock, which the kernel frees when its process ends, by kill -9 too
<folder>/turn.lock                who collects now: nobody waits for a GPU while holding another in his way
```
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from transferflow.errors import FlowError
from transferflow.logs import get_logger

logger = get_logger()
VISIBLE = "CUDA_VISIBLE_DEVICES"
FOLDER = "TRANSFERFLOW_SLOTS"
"""Environment variable with the folder of the locks, for containers that share GPUs; it must be local."""
_CPU = "cpu"
_POLL_SECONDS = 0.5
_SECONDS_BETWEEN_LINES = 300.0
_ASK_SECONDS = 30
_DEVICE = re.compile(r"^(?P<mig>\s+MIG)?.*\(UUID: (?P<uuid>[\w-]+)\)", re.MULTILINE)


def list_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; by UUID where known."""
    known = parse_gpus(_nvidia_smi())
    visible = os.environ.get(VISIBLE)
    if visible is None:
        return known
    names = [name.strip() for name in visible.split(",")]
    return tuple(
        known[int(name)] if name.isdecimal() and int(name) < len(known) else name
        for name in names
        if name not in ("", "-1", "NoDevFiles")
    )


def parse_gpus(listing: str) -> tuple[str, ...]:
    """UUIDs in what `nvidia-smi -L` prints; of a GPU that is split (MIG) those of its parts."""
    found: list[str] = []
    whole = False
    for device in _DEVICE.finditer(listing):
        if device["mig"] and whole:
            found.pop()  # the GPU itself can't be used any more
        whole = not device["mig"]
        found.append(device["uuid"])
    return tuple(found)


@contextmanager
def taking_gpus(wanted: int) -> Iterator[tuple[str, ...]]:
    """Take GPUs for the length of the block, wait for them if need be, and let CUDA see no others.

    Args:
        wanted: How many. On a machine without a GPU, and for 0, the one place for the CPU is taken.

    Raises:
        FlowError: If the machine has GPUs, but fewer.
    """
    gpus = list_gpus()
    if gpus and wanted > len(gpus):
        raise FlowError(
            "the run asks for more GPUs than this machine has",
            where="deployment.gpus",
            found=str(wanted),
            allowed=f"at most {len(gpus)}",
        )
    places = gpus if gpus and wanted else (_CPU,)
    with ExitStack() as held:
        taken = _take(held, places, wanted if gpus and wanted else 1)
        visible = "" if taken == (_CPU,) else ",".join(taken)
        held.enter_context(_visible(visible))
        logger.info("runs on %s", visible or "the CPU")
        yield tuple(visible.split(",")) if visible else ()


def slots_folder() -> Path:
    """Folder of the locks; the same for all users of the machine."""
    folder = Path(os.environ.get(FOLDER) or Path(tempfile.gettempdir()) / "transferflow-slots")
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)
    return folder


def busy_places() -> dict[str, bool]:
    """Whether each place of this machine is taken now."""
    busy = {}
    for place in list_gpus() or (_CPU,):
        with ExitStack() as held:
            busy[place] = not _try(held, slots_folder(), place)
    return busy


def _take(held: ExitStack, places: Sequence[str], wanted: int) -> tuple[str, ...]:
    folder, taken = slots_folder(), list[str]()
    started = said = time.monotonic()
    with _lock(folder, "turn"):
        while True:
            for place in places:
                if len(taken) < wanted and place not in taken and _try(held, folder, place):
                    taken.append(place)
            if len(taken) == wanted:
                return tuple(taken)
            if time.monotonic() - said > _SECONDS_BETWEEN_LINES or said == started:
                said = time.monotonic()
                logger.info("all taken: waiting for %d of %s", wanted - len(taken), ", ".join(places))
            time.sleep(_POLL_SECONDS)


def _try(held: ExitStack, folder: Path, place: str) -> bool:
    try:
        held.enter_context(_lock(folder, re.sub(r"[^\w.-]", "_", place)).acquire(timeout=0))
    except Timeout:
        return False
    return True


def _lock(folder: Path, name: str) -> FileLock:
    return FileLock(folder / f"{name}.lock", mode=0o666, fallback_to_soft=False)


@contextmanager
def _visible(names: str) -> Iterator[None]:
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = names
    try:
        yield
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


def _nvidia_smi() -> str:
    """What the driver's own tool lists; nothing where there is no driver."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
