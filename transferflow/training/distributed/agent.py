"""The process that starts the ranks, and starts them again when one crashes.

Several are started by PyTorch's elastic launch. One alone needs nobody to talk to: it is a plain child, and
this process stays free of torch.

It is run as `python -m transferflow.training.distributed.agent FOLDER DEVICES RESTARTS WORD…`, where the
words are what Python is given to start a rank; the folder is added to them. Restarts are counted here, and
not by the elastic agent, because an error that was foreseen is no crash and would only come again, and
because each crash is told with its reason.
"""

from __future__ import annotations

import logging
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transferflow.errors import InterruptedRunError, TrainingError
from transferflow.training.distributed.exchange import Exchange
from transferflow.training.distributed.one import Stopped, run_one
from transferflow.training.distributed.orphans import end_with_parent

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
    from torch.distributed.launcher.api import LaunchConfig

_TRACE_LINES = 12


@dataclass(frozen=True)
class Crash:
    """How a rank ended that nobody had asked to.

    Attributes:
        rank: Which one.
        exit_code: Of its process; minus the number of the signal that ended it.
        trace: Its traceback; empty without one.
        told_at: When it told that, in ns of the machine's clock.
    """

    rank: int
    exit_code: int
    trace: str = ""
    told_at: int = 0

    def __str__(self) -> str:
        if self.exit_code < 0:
            how = f"was ended by {signal.Signals(-self.exit_code).name}"
        elif self.trace:
            how = f"raised {self.trace.strip().splitlines()[-1]}"
        else:
            how = f"ended with exit code {self.exit_code}"
        return f"the process of device {self.rank} {how}"


def decide_root(crashes: Sequence[Crash]) -> Crash:
    """The crash that the others came of: a process that was ended takes the connections of the others along.

    SIGTERM is what the elastic agent ends the others with. A rank tells its traceback before it ends, so
    those that lost their connection to it tell theirs later.

    Args:
        crashes: In the order in which they were found; at least one.
    """

    def likelihood(crash: Crash) -> tuple[bool, bool, int]:
        was_ended = crash.exit_code < 0 and crash.exit_code != -signal.SIGTERM
        return was_ended, bool(crash.trace), -crash.told_at

    return max(crashes, key=likelihood)  # the first of equals


def describe_end(crash: Crash, restarts: int) -> TrainingError:
    """The error when there is no restart left."""
    again = "memory: use fewer devices or training.workers, or a smaller training.batch_size"
    killed = crash.exit_code == -signal.SIGKILL
    trace = "\n".join(crash.trace.strip().splitlines()[-_TRACE_LINES:])
    times = f" again after {restarts} restart{'' if restarts == 1 else 's'}" if restarts else ""
    return TrainingError(
        f"{crash}{times}, and training.max_restarts allows no more",
        found=trace,
        hint=(f"SIGKILL often means that the machine ran out of {again}; " if killed else "")
        + "run the same command again: it goes on from the last checkpoint",
    )


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


def _attempt(exchange: Exchange, devices: int, words: Sequence[str]) -> Crash | None:
    """Run the ranks once; return how one crashed, `None` if all ended or said why they did not."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    try:
        elastic_launch(_launch_config(exchange, devices), sys.executable)(*words, str(exchange.folder))
    except ChildFailedError as error:
        told = exchange.read_error()
        if told is not None and not isinstance(told, InterruptedRunError):
            return None
        exchange.forget_error()  # rank 0 was stopped, and saved, because another one had crashed
        return decide_root(_crashes(exchange, error.failures))
    return None


def _crashes(exchange: Exchange, failures: Mapping[int, ProcessFailure]) -> list[Crash]:
    return [Crash(rank, found.exitcode, *exchange.take_crash(rank)) for rank, found in failures.items()]


def _launch_config(exchange: Exchange, devices: int) -> LaunchConfig:
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, Std
    from torch.distributed.launcher.api import LaunchConfig as Config

    silent = dict.fromkeys(range(1, devices), Std.ALL)  # rank 0 speaks for all
    return Config(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(str(exchange.folder / "logs"), redirects=silent),
    )


def main(folder: str, devices: str, restarts: str, *words: str) -> int:
    """Run as a command; see the module."""
    end_with_parent(last=lambda: shutil.rmtree(folder, ignore_errors=True))
    logging.disable()  # the elastic agent's own tables: what is to be said goes through the exchange
    try:
        return int(not run_attempts(Exchange(Path(folder)), int(devices), int(restarts), words))
    except _stops(int(devices)):  # rank 0 has saved, and said where
        return 1


def _stops(devices: int) -> type[Exception]:
    """What a signal to this process raises, once the ranks have ended."""
    if devices == 1:
        return Stopped
    from torch.distributed.elastic.multiprocessing.api import SignalException  # torch takes seconds

    stop: type[Exception] = SignalException
    return stop


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
