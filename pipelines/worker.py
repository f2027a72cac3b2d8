"""A worker of this machine: Prefect's own process worker, and whoever sends dead runs on.

Prefect's worker is a child in a session of its own. When this process is told to stop, the child's runs are
stopped, which saves where they stand, and handed back to the server, so that the next worker goes on with
them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from transferflow.errors import FlowError, StopSignal
from transferflow.logs import get_logger

from .recovery import Recovered, resume_runs
from .server import configured_server
from .slots import list_gpus

logger = get_logger()
_LOOK_SECONDS = 30.0
_STOP_SECONDS = 90.0
_SETTLE_SECONDS = 6.0
"""After a stop: the runs are dead for sure, but a run of another worker may just be taking its lock."""
_QUICK_SECONDS, _QUICK_ENDS = 60.0, 3
"""A worker that ends so soon, so many times in a row, will not do better."""
_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_WORKER_QUERY_SECONDS": "5",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}
"""What is not set already: pick runs up soon, and let the server see that they live."""
OnRecovered = Callable[[Recovered], None]


@dataclass(frozen=True)
class WorkerPlan:
    """How a worker is started.

    Attributes:
        pool: Work pool that it serves.
        limit: Runs at once.
        gpus: GPUs of this machine; runs take them one by one.
    """

    pool: str
    limit: int
    gpus: tuple[str, ...]


def plan_worker(pool: str, limit: int | None = None) -> WorkerPlan:
    """Look at the machine: a run per GPU (without one, a single run), and one more that looks or prepares.

    Args:
        pool: Work pool to serve.
        limit: Runs at once; left out: as above.
    """
    gpus = list_gpus()
    return WorkerPlan(pool, limit or max(1, len(gpus)) + 1, gpus)


def serve(plan: WorkerPlan, on_recovered: OnRecovered) -> int:
    """Serve the pool until told to stop, by SIGTERM or ctrl-C.

    Args:
        plan: What to serve, and how much at once.
        on_recovered: Called with each dead run that was sent on or ended.

    Returns:
        0 when it was told to stop; else the exit code of Prefect's worker, which ended again and again.

    Raises:
        FlowError: If no server is configured, or it does not answer.
    """
    configured_server()
    quick_ends = 0
    while True:
        started = time.monotonic()
        try:
            code = _serve_once(plan, on_recovered)
        except (KeyboardInterrupt, StopSignal):
            time.sleep(_SETTLE_SECONDS)
            _recover(_SETTLE_SECONDS, on_recovered)
            return 0
        quick_ends = quick_ends + 1 if time.monotonic() - started < _QUICK_SECONDS else 0
        if quick_ends == _QUICK_ENDS:
            return code or 1
        logger.warning("worker: Prefect's worker ended with code %d; it is started again", code)
        time.sleep(_SETTLE_SECONDS)


def _serve_once(plan: WorkerPlan, on_recovered: OnRecovered) -> int:
    environment = _SETTINGS | dict(os.environ) | {"PATH": _path()}
    with subprocess.Popen(_command(plan), env=environment, start_new_session=True) as process:
        try:
            return _watch(process, on_recovered)
        except (KeyboardInterrupt, StopSignal):
            _stop(process)
            raise


def _path() -> str:
    """Where commands are found: beside this Python first, which is the one that runs are to have."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _command(plan: WorkerPlan) -> list[str]:
    options = ["--pool", plan.pool, "--type", "process", "--limit", str(plan.limit)]
    return [sys.executable, "-m", "prefect", "worker", "start", *options]


def _watch(process: subprocess.Popen[bytes], on_recovered: OnRecovered) -> int:
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_LOOK_SECONDS)
        _recover(None, on_recovered)


def _recover(grace: float | None, on_recovered: OnRecovered) -> None:
    try:
        for run in resume_runs() if grace is None else resume_runs(grace):
            on_recovered(run)
    except FlowError as error:  # a server that is away comes back
        logger.warning("%s", error)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the worker, which ends its runs; they save where they stand first."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # runs that it could not end go on, and are not taken for dead
