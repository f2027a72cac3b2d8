"""Trains in other processes and waits for them, as if it was done in this one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferflow.cpus import shared_out
from transferflow.errors import Problem, TrainingError, TransferflowError
from transferflow.logs import get_logger
from transferflow.training.distributed.exchange import Exchange
from transferflow.training.loop.stopping import StopSignals
from transferflow.training.loop.wording import stopped_with

AGENT = "transferflow.training.distributed.agent"
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 45.0
"""Longer than the elastic agent gives the ranks to end before it kills them, which is 30 s."""


@dataclass(frozen=True)
class Launch:
    """How a training is spread over processes.

    Attributes:
        words: What Python is given to start a rank; the folder of the exchange is added.
        devices: How many ranks.
        device: Type of the device of each: `cpu` or `cuda`.
        max_restarts: How often they may be started again after a crash.
    """

    words: Sequence[str]
    devices: int
    device: str
    max_restarts: int


def launch(plan: Launch, job: Mapping[str, Any]) -> None:
    """Train in ranks; nothing of them is left when this returns or raises.

    Args:
        plan: How many, where.
        job: What to train, as plain JSON.

    Raises:
        TransferflowError: What a rank raised, with the same words.
        TrainingError: If ranks crashed more often than is allowed.
        InterruptedRunError: If SIGTERM or ctrl-C stops it, once rank 0 has saved where it stands.
    """
    # Not below the home: an error must get through that its disk is full.
    with tempfile.TemporaryDirectory(prefix="transferflow-ranks-", ignore_cleanup_errors=True) as folder:
        _launch(plan, Exchange(Path(folder)), job)


def _launch(plan: Launch, exchange: Exchange, job: Mapping[str, Any]) -> None:
    level = get_logger().getEffectiveLevel()
    exchange.write_job({"device": plan.device, "level": level, "job": job})
    words = [sys.executable, "-P", "-m", AGENT, str(exchange.folder)]
    words += [str(plan.devices), str(plan.max_restarts), *plan.words]
    with StopSignals() as signals:
        lines = exchange.lines()
        # A session of its own: ctrl-C in the terminal reaches this process alone, which decides.
        agent = subprocess.Popen(words, env=_environment(plan.devices), start_new_session=True)
        try:
            _wait(agent, lines)
        except BaseException as reason:
            waiting = signals.close()
            _end(agent)
            next(lines)
            raise stopped_with(reason, waiting, _where_it_stopped(exchange)) from None
    next(lines)
    if agent.returncode != 0:
        raise exchange.read_error() or _agent_died(agent.returncode)


def _wait(agent: subprocess.Popen[bytes], lines: Iterator[None]) -> None:
    while agent.poll() is None:
        next(lines)
        time.sleep(_POLL_SECONDS)


def _end(agent: subprocess.Popen[bytes]) -> None:
    """Let rank 0 save, and all of them end."""
    agent.terminate()
    try:
        agent.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        agent.kill()  # the ranks end with it
        agent.wait()


def _where_it_stopped(exchange: Exchange) -> Problem:
    told: TransferflowError | None = exchange.read_error()
    if told is not None:
        return told.problems[0]
    hint = "run the same command again: it goes on from the last checkpoint, where there is one"
    return Problem("training was stopped outside of its epochs", hint=hint)


def _agent_died(code: int) -> TrainingError:
    return TrainingError(
        "the process that watches the training's processes died",
        found=f"exit code {code}",
        hint="run the same command again: it goes on from the last checkpoint",
    )


def _environment(devices: int) -> dict[str, str]:
    """The environment of the ranks: CPUs are shared out, and what they say to each other stays here."""
    if devices == 1:
        return dict(os.environ)
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    own = {}
    if loopback is not None:
        own = {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    return own | shared_out(os.environ, devices)
