"""Trains on several nodes: attempts that the owner begins, in which the others take part."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from transferflow.errors import InterruptedRunError, TrainingError
from transferflow.logs import get_logger
from transferflow.training.distributed.addresses import Place
from transferflow.training.distributed.crashes import LAUNCH, Crash, decide_root, describe_end
from transferflow.training.distributed.launch import Launch, agent_died, exchange_folder, run_agent
from transferflow.training.distributed.nodes import End, Joiner, Owner

logger = get_logger("training")


def launch_as_owner(plan: Launch, job: Mapping[str, Any], owner: Owner) -> None:
    """Train together with the other nodes; see `launch`.

    A node that is gone is waited for, and the training goes on from the last checkpoint.

    Args:
        plan: How many ranks this node has.
        job: What to train, as plain JSON.
        owner: This node's side of the meeting.

    Raises:
        TransferflowError: What a rank of any node raised.
        TrainingError: If ranks crashed more often than is allowed, or nodes do not come.
        InterruptedRunError: If this process is stopped, once rank 0 has saved where it stands.
    """
    for done in range(plan.max_restarts + 1):
        crash = _attempt(plan, job, owner)
        if crash is None:
            return
        if done == plan.max_restarts:
            raise describe_end(crash, done)
        logger.warning(
            "%s; training goes on from the last checkpoint: restart %d of %d",
            crash,
            done + 1,
            plan.max_restarts,
        )


def _attempt(plan: Launch, job: Mapping[str, Any], owner: Owner) -> Crash | None:
    """Train once; return what it broke off with, `None` if it came to its end."""
    mine = _run(plan, job, owner.begin(), owner.is_broken)
    if mine.is_good:
        return None
    ends = [mine, *owner.finish_attempt()]
    errors = [end.error for end in ends if end.error is not None]
    for error in errors:
        if not isinstance(error, InterruptedRunError):
            raise error
    crashes = [end.crash for end in ends if end.crash is not None]
    if crashes:
        return decide_root(crashes)
    raise errors[0]  # ranks were stopped, and nobody else ended the attempt


def launch_as_joiner(plan: Launch, job: Mapping[str, Any], joiner: Joiner) -> None:
    """Take part in a training that another node owns, to its end.

    Args:
        plan: How many ranks this node has.
        job: What to train, as plain JSON.
        joiner: This node's side of the meeting.

    Raises:
        TransferflowError: What has ended the training, or that its owner is gone.
        InterruptedRunError: If this process is stopped.
    """
    joiner.enter()
    try:
        while (place := joiner.next_place()) is not None:
            joiner.report(_run(plan, job, place, joiner.is_over))
    except BaseException as reason:
        if isinstance(reason, InterruptedRunError) or not isinstance(reason, Exception):
            with suppress(TrainingError):  # the owner may be gone, too
                joiner.leave("was stopped")
        raise


def _run(plan: Launch, job: Mapping[str, Any], place: Place, is_over: Callable[[], bool]) -> End:
    with exchange_folder() as exchange:
        code = run_agent(plan, exchange, job, place, is_over)
        told, error = exchange.read_end(), exchange.read_error()
    if code == 0 or error is not None:
        return End(error=error)
    if told is None and code != -signal.SIGKILL:
        return End(error=agent_died(code))
    crash = (
        Crash(LAUNCH, code) if told is None else Crash(**told)
    )  # as the others are gone, or no memory is left
    return End(replace(crash, node=socket.gethostname()))
