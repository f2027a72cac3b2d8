"""Where the nodes of a training meet: plain JSON under names, kept by the node that HOST:PORT belongs to.

It is PyTorch's `TCPStore`, on which its own rendezvous stands, too. Whoever can listen at HOST:PORT keeps it,
and so owns the run; the others join. Nothing that comes over it is executed.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar

from transferflow.errors import TrainingError
from transferflow.logs import get_logger
from transferflow.training.distributed.addresses import (
    Address,
    can_connect,
    listen_at,
    own_address_towards,
)

if TYPE_CHECKING:
    from torch._C._distributed_c10d import TCPStore

logger = get_logger("training")

PATIENCE_SECONDS = 30.0
"""How long a node may show no sign of life."""
_POLL_SECONDS = 0.5
Answer = TypeVar("Answer")


class Meeting:
    """JSON under names, which all nodes see.

    Args:
        store: Keeps it.
        address: As the user has given it.
        is_host: Whether this process keeps it.
    """

    def __init__(self, store: TCPStore, address: Address, *, is_host: bool) -> None:
        self._store = store
        self.address = address
        self.is_host = is_host

    @property
    def own_address(self) -> str:
        """Address of this machine by which the host reaches it."""
        return own_address_towards(self.address.host, self.address.port)

    def put(self, name: str, value: object) -> None:
        """Say something."""
        data = json.dumps(value)
        self._ask(lambda: self._store.set(name, data))

    def find(self, name: str) -> Any | None:  # noqa: ANN401  plain JSON data
        """What was said under a name; `None` if nothing was."""
        data = self._ask(lambda: self._store.get(name) if self._store.check([name]) else None)
        try:
            return None if data is None else json.loads(data)
        except ValueError:
            raise self._foreign() from None

    def count(self, name: str, more: int = 0) -> int:
        """Count something up; the number that it comes to."""
        return self._ask(lambda: self._store.add(name, more))

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        """Ask the store, which answers at once or never: a machine that is gone says nothing."""
        answers: list[Answer] = []

        def ask() -> None:
            try:
                answers.append(question())
            except RuntimeError:  # of torch.distributed: the connection is closed
                return

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(PATIENCE_SECONDS)
        if not answers:
            raise TrainingError(
                "the node that owns the run is gone",
                found=f"{self.address} does not answer",
                hint="give the same command on all nodes again: training goes on from the last checkpoint",
            )
        return answers[0]

    def _foreign(self) -> TrainingError:
        return TrainingError(
            "something else than this training meets there", where="--rdzv", found=str(self.address)
        )


def open_meeting(address: Address, timeout: float) -> Meeting:
    """Keep the meeting if its address is this machine's and nobody does yet; else wait for it and go there.

    Args:
        address: Where all nodes meet.
        timeout: Seconds to wait for whoever keeps it.

    Raises:
        PlanError: If there is no such address.
        TrainingError: If nobody keeps it in that time.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a lost connection is told in our words
    listening = listen_at(address)
    if listening is not None:
        return Meeting(_keep(listening), address, is_host=True)
    _wait_for_host(address, timeout)
    return Meeting(_connect(address), address, is_host=False)


def _keep(listening: socket.socket) -> TCPStore:
    from torch._C._distributed_c10d import TCPStore

    host, port = listening.getsockname()[:2]
    if ip_address(host).is_unspecified:  # it listens at all of them
        host = "::1" if ":" in host else "127.0.0.1"
    return TCPStore(
        host,
        port,
        is_master=True,
        timeout=timedelta(seconds=PATIENCE_SECONDS),
        wait_for_workers=False,
        master_listen_fd=listening.detach(),
    )


def _wait_for_host(address: Address, timeout: float) -> None:
    started = time.monotonic()
    if not can_connect(address):
        logger.info("nodes: waiting for the node that owns the run, at %s", address)
    while not can_connect(address):
        if time.monotonic() - started > timeout:
            raise TrainingError(
                "the node that owns the run did not come",
                where="--rdzv",
                found=f"nobody answers at {address} after {timeout:g} s",
                hint="give the command on the machine that has this address, too, and see that no firewall "
                "stands between; --rdzv-timeout waits longer",
            )
        time.sleep(_POLL_SECONDS)


def _connect(address: Address) -> TCPStore:
    from torch._C._distributed_c10d import TCPStore

    try:
        return TCPStore(
            address.host,
            address.port,
            is_master=False,
            timeout=timedelta(seconds=PATIENCE_SECONDS),
            wait_for_workers=False,
        )
    except RuntimeError:
        raise TrainingError(
            "what answers there is no training", where="--rdzv", found=str(address), hint="take another port"
        ) from None
