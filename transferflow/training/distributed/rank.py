"""What surrounds the work of one rank: its number, its device, its log lines, its errors."""

from __future__ import annotations

import logging
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transferflow.errors import TransferflowError
from transferflow.logs import get_logger
from transferflow.training.distributed.exchange import Exchange, LineHandler
from transferflow.training.distributed.orphans import end_at_once, end_with_parent
from transferflow.training.ranks import ALONE, Ranks

Work = Callable[[Mapping[str, Any], Ranks], None]


def run_rank(folder: Path, work: Work) -> None:
    """Do one rank's share of a job, in a process of its own that the agent has started.

    Only rank 0 hears signals, and saves: the others wait for what comes of it, and end with it. So no rank
    is left by another one in the middle of a step.

    Args:
        folder: Of the exchange.
        work: Does the job, given as it was handed over.
    """
    exchange, rank = Exchange(folder), int(os.environ["RANK"])
    end_with_parent(also=exchange.has_error if rank > 0 else lambda: False)
    handed_over = exchange.read_job()
    if rank > 0:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _wait_for_rank_0)
        warnings.simplefilter("ignore")
    _route_lines(exchange, rank, handed_over["level"])
    try:
        _join(handed_over["device"], lambda ranks: work(handed_over["job"], ranks))
    except TransferflowError as error:
        exchange.tell_error(error)
        end_at_once()
    except BaseException:
        exchange.tell_crash(rank, traceback.format_exc())
        end_at_once()  # an orderly end would wait for ranks that wait for this one


def _join(device_type: str, work: Callable[[Ranks], None]) -> None:
    if os.environ["WORLD_SIZE"] == "1":
        work(ALONE)
        return
    import torch

    from transferflow.training.distributed.together import joined

    device = torch.device(device_type)
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with joined(device) as ranks:
        work(ranks)


def _route_lines(exchange: Exchange, rank: int, level: int) -> None:
    """Let rank 0's lines go to the process that waits, and those of the others nowhere: they are the same."""
    logger = get_logger()
    logger.propagate = False
    logger.setLevel(level if rank == 0 else logging.CRITICAL)
    if rank == 0:
        logger.addHandler(LineHandler(exchange))


def _wait_for_rank_0(number: int, frame: object) -> None:
    """Nothing: see `run_rank`."""
