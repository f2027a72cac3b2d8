"""The process that starts the ranks, and starts them again when one crashes.

Several are started by PyTorch's elastic launch. One alone needs nobody to talk to: it is a plain child, and
this process stays free of torch.

It is run as `python -m transferflow.training.distributed.agent FOLDER DEVICES RESTARTS WORD…`, where the
words are what Python is given to start a rank; the folder is added to them. Restarts are counted here, and
not by the elastic agent, because an error that was foreseen is no crash and would only come again, and
because each crash is told with its reason. On one of several nodes the agent starts the ranks once, and the
node that owns the run counts.
"""

from __future__ import annotations

import logging
import shutil
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from transferflow.errors import InterruptedRunError
from transferflow.training.distributed.addresses import ONLY, Place
from transferflow.training.distributed.crashes import LAUNCH, Crash, decide_root, describe_end
from transferflow.training.distributed.exchange import Exchange
from transferflow.training.distributed.one import Stopped, run_one
from transferflow.training.distributed.orphans import end_with_parent

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
    from torch.distributed.launcher.api import LaunchConfig

_GATHERING_SECONDS = 120
"""For the agents of nodes that are there to find each other."""


def run_attempts(exchange: Exchange, devices: int, restarts: int, words: Sequence[str]) -> bool:
    """Train to the end, with restarts from the last checkpoint; `False` after an error, which is told.

    Args:
        exchange: Where the job is.
        devices: Ranks.
        restarts: How often they may be started again.
        words: What Python is given to start one.
    """
    for done in range(restarts + 1):
        crash = _attempt_one(exchange, words) if devices == 1 else _attempt(exchange, devices, words)
        if crash is None:
            return not exchange.has_error()
        if done == restarts:
            exchange.tell_error(describe_end(crash, restarts))
        else:
            text = f"{crash}; training goes on from the last checkpoint: restart {done + 1} of {restarts}"
            exchange.tell_line("transferflow.training", logging.WARNING, text)
    return False


def _attempt_one(exchange: Exchange, words: Sequence[str]) -> Crash | None:
    """The same with a single rank."""
    code = run_one([sys.executable, *words, str(exchange.folder)])
    if code == 0:
        return None
    if exchange.has_error() and not isinstance(exchange.read_error(), InterruptedRunError):
        return None
    exchange.forget_error()  # somebody has stopped that process alone
    return Crash(0, code, *exchange.take_crash(0))


def run_on_node(exchange: Exchange, devices: int, place: Place, words: Sequence[str]) -> bool:
    """Take part in one attempt of several nodes; `False` after an error or a crash, which is told.

    Args:
        exchange: Where the job is.
        devices: Ranks of this node.
        place: This node among the others.
        words: What Python is given to start a rank.
    """
    try:
        crash = _attempt(exchange, devices, words, place)
    except Exception:  # of the elastic launch: a node that did not come, a port that is taken
        crash = Crash(LAUNCH, 1, traceback.format_exc())
    if crash is not None:
        exchange.tell_end(asdict(crash))
    return crash is None and not exchange.has_error()


def _attempt(exchange: Exchange, devices: int, words: Sequence[str], place: Place = ONLY) -> Crash | None:
    """Run the ranks once; return how one crashed, `None` if all ended or said why they did not."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    try:
        config = _launch_config(exchange, devices, place)
        elastic_launch(config, sys.executable)(*words, str(exchange.folder))
    except ChildFailedError as error:
        told = exchange.read_error()
        if told is not None and not isinstance(told, InterruptedRunError):
            return None
        exchange.forget_error()  # rank 0 was stopped, and saved, because another one had crashed
        return decide_root(_crashes(exchange, error.failures))
    return None


def _crashes(exchange: Exchange, failures: Mapping[int, ProcessFailure]) -> list[Crash]:
    return [Crash(rank, found.exitcode, *exchange.take_crash(rank)) for rank, found in failures.items()]


def _launch_config(exchange: Exchange, devices: int, place: Place) -> LaunchConfig:
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, Std
    from torch.distributed.launcher.api import LaunchConfig as Config

    speaks = 1 if place.number == 0 else 0  # rank 0 speaks for all
    silent = dict.fromkeys(range(speaks, devices), Std.ALL)
    logs = DefaultLogsSpecs(str(exchange.folder / "logs"), redirects=silent)
    if place.count == 1:
        return Config(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=devices,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=logs,
        )
    return Config(
        min_nodes=place.count,
        max_nodes=place.count,
        nproc_per_node=devices,
        run_id="nodes",  # the same on all of them, or they wait for each other under other names
        rdzv_backend="static",
        rdzv_endpoint=place.endpoint,
        rdzv_configs={"rank": place.number, "timeout": _GATHERING_SECONDS},
        local_addr=place.address,
        max_restarts=0,
        logs_specs=logs,
    )


def main(folder: str, devices: str, restarts: str, *words: str) -> int:
    """Run as a command; see the module."""
    end_with_parent(last=lambda: shutil.rmtree(folder, ignore_errors=True))
    logging.disable()  # the elastic agent's own tables: what is to be said goes through the exchange
    exchange = Exchange(Path(folder))
    place = exchange.read_place()
    try:
        if place.count > 1:
            return int(not run_on_node(exchange, int(devices), place, words))
        return int(not run_attempts(exchange, int(devices), int(restarts), words))
    except _stops(int(devices) * place.count):  # rank 0 has saved, and said where
        return 1


def _stops(ranks: int) -> type[Exception]:
    """What a signal to this process raises, once the ranks have ended."""
    if ranks == 1:
        return Stopped
    from torch.distributed.elastic.multiprocessing.api import SignalException  # torch takes seconds

    stop: type[Exception] = SignalException
    return stop


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
