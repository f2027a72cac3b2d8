"""Trains in other processes and waits for them, as if it was done in this one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferflow.cpus import shared_out
from transferflow.errors import Problem, TrainingError, TransferflowError
from transferflow.logs import get_logger
from transferflow.training.distributed.addresses import ONLY, Place, interface_of
from transferflow.training.distributed.exchange import Exchange
from transferflow.training.loop.stopping import StopSignals
from transferflow.training.loop.wording import stopped_with

AGENT = "transferflow.training.distributed.agent"
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 45.0
"""Longer than the elastic agent gives the ranks to end before it kills them, which is 30 s."""
_TO_FIND_OUT_SECONDS = 5.0
"""For ranks to notice for themselves that those of another node are gone, and to tell what they saw."""
_LEFT = Problem("this node has left the training", hint="run the same command again: it joins again")
_GLOO, _NCCL = "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"


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
    with exchange_folder() as exchange:
        code = run_agent(plan, exchange, job)
        if code != 0:
            raise exchange.read_error() or agent_died(code)


@contextmanager
def exchange_folder() -> Iterator[Exchange]:
    """A folder to talk through; not below the home: an error must get through that its disk is full."""
    with tempfile.TemporaryDirectory(prefix="transferflow-ranks-", ignore_cleanup_errors=True) as folder:
        yield Exchange(Path(folder))


def run_agent(
    plan: Launch,
    exchange: Exchange,
    job: Mapping[str, Any],
    place: Place = ONLY,
    is_over: Callable[[], bool] = lambda: False,
) -> int:
    """Run the agent to its end, and hand on what the ranks say; return its exit code.

    Args:
        plan: How many ranks, where.
        exchange: What it and the ranks talk through.
        job: What to train, as plain JSON.
        place: This node among others.
        is_over: Asked all the time: whether there is nothing left to train together for.

    Raises:
        InterruptedRunError: If SIGTERM or ctrl-C stops it, once rank 0 has saved where it stands.
    """
    level = get_logger().getEffectiveLevel()
    exchange.write_job({"device": plan.device, "level": level, "job": job})
    exchange.write_place(place)
    words = [sys.executable, "-P", "-m", AGENT, str(exchange.folder)]
    words += [str(plan.devices), str(plan.max_restarts), *plan.words]
    with StopSignals() as signals:
        lines = exchange.lines()
        # A session of its own: ctrl-C in the terminal reaches this process alone, which decides.
        agent = subprocess.Popen(words, env=_environment(plan.devices, place), start_new_session=True)
        try:
            _wait(agent, lines, is_over)
        except BaseException as reason:
            waiting = signals.close()
            _end(agent, saves=place.number == 0)
            next(lines)
            said = _LEFT if place.number > 0 else _where_it_stopped(exchange)
            raise stopped_with(reason, waiting, said) from None
    next(lines)
    return agent.returncode


def _wait(agent: subprocess.Popen[bytes], lines: Iterator[None], is_over: Callable[[], bool]) -> None:
    over_since: float | None = None
    while agent.poll() is None:
        next(lines)
        if over_since is None and is_over():
            over_since = time.monotonic()
        if over_since is not None and time.monotonic() - over_since > _TO_FIND_OUT_SECONDS:
            agent.kill()  # the ranks end with it
            agent.wait()
        time.sleep(_POLL_SECONDS)


def _end(agent: subprocess.Popen[bytes], *, saves: bool) -> None:
    """Let rank 0 save, if it is here, and all of them end."""
    if saves:
        agent.terminate()
        with suppress(subprocess.TimeoutExpired):
            agent.wait(_GRACE_SECONDS)
    agent.kill()  # the ranks end with it
    agent.wait()


def _where_it_stopped(exchange: Exchange) -> Problem:
    told: TransferflowError | None = exchange.read_error()
    if told is not None:
        return told.problems[0]
    hint = "run the same command again: it goes on from the last checkpoint, where there is one"
    return Problem("training was stopped outside of its epochs", hint=hint)


def agent_died(code: int) -> TrainingError:
    """The error for an agent that has said nothing."""
    return TrainingError(
        "the process that watches the training's processes died",
        found=f"exit code {code}",
        hint="run the same command again: it goes on from the last checkpoint",
    )


def _environment(devices: int, place: Place) -> dict[str, str]:
    """The environment of the ranks: CPUs are shared out, and what they say to each other stays where it must.

    That is the loopback of one machine; of several the interface by which they reach each other, of which
    NCCL knows more than we do. What the user says holds there.
    """
    if devices * place.count == 1:
        return dict(os.environ)
    if place.count == 1:
        loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
        names = dict.fromkeys((_GLOO, _NCCL), loopback)
    else:
        names = {_GLOO: interface_of(place.address)}
    own = {variable: name for variable, name in names.items() if name is not None}
    return own | shared_out(os.environ, devices)
