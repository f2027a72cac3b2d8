"""One owner per key: whoever works on a key holds its lock; others wait, and reuse what it made.

```
<home>/locks/<stage>/<key>.lock    a file lock, which the kernel frees when its process ends, by kill -9 too
<home>/locks/<stage>/<key>.owner   who holds it; touched every 10 s, for hosts that share the disk
```
On one host the file lock alone decides. Where a shared disk has no file locks, or keeps them to each host,
the owner's record does: another host takes over when it has not been touched for half a minute.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import LeaseCompromise, OwnerRecord, SoftFileLease, Timeout

from transferflow.errors import StoreError
from transferflow.logs import get_logger
from transferflow.store.file_locks import LEASE_SECONDS, take_file_lock
from transferflow.text import counted

logger = get_logger("store")

FORGOTTEN_SECONDS = 24 * 3600.0
"""Age of an owner's record, or of litter without one, from which its owner is surely dead."""
_POLL_SECONDS = 0.2
_SECONDS_BETWEEN_LINES = 300.0


class BusyError(StoreError):
    """Another process works on the same key, and this one was told not to wait."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed later


class KeyLock:
    """The lock of one key; each `hold` is by itself, so that threads wait for each other too."""

    def __init__(self, home: Path, stage: str, key: str) -> None:
        folder = home / "locks" / stage
        self._stage, self._key = stage, key[:12]
        self._lock, self._record = folder / f"{key}.lock", folder / f"{key}.owner"

    @contextmanager
    def hold(self, *, wait: bool = True) -> Iterator[None]:
        """Own the key for the length of the block; wait for another owner and say who it is.

        Raises:
            BusyError: If somebody owns it, and `wait` is false.
        """
        with ExitStack() as held:
            if not self._try(held):
                if not wait:
                    raise BusyError(
                        f"another process works on {self._stage} {self._key}",
                        found=self.owner(),
                        hint="run it again later, or without --no-wait: it waits, and reuses the result",
                    )
                self._wait(held)
            yield

    @contextmanager
    def hold_if_free(self) -> Iterator[bool]:
        """Own the key for the length of the block if nobody else does; yields whether."""
        with ExitStack() as held:
            yield self._try(held)

    def owner(self) -> str:
        """Who holds it, in words."""
        record = self._lease().owner
        if record is None:
            return "a process that has left no name yet"
        return f"process {record.pid} on {_host_of(record)}"

    def break_forgotten(self) -> None:
        """Remove an owner's record that nobody has touched for a day: its owner is dead, on whatever host."""
        try:
            age = time.time() - self._record.stat().st_mtime
        except OSError:
            return
        if age > FORGOTTEN_SECONDS:
            self._lease().force_break()

    def _try(self, held: ExitStack) -> bool:
        """Take the file lock and the owner's record; both or neither."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as taken:
            try:
                self._take(taken, timeout=0)
            except Timeout:
                return False
            held.push(taken.pop_all())
            return True

    def _wait(self, held: ExitStack) -> None:
        started = time.monotonic()
        while True:
            logger.info(
                "%s: waiting for %s, which makes %s%s", self._stage, self.owner(), self._key, _since(started)
            )
            with ExitStack() as taken:
                try:
                    self._take(taken, timeout=_SECONDS_BETWEEN_LINES)
                except Timeout:
                    continue
                held.push(taken.pop_all())
                return

    def _take(self, taken: ExitStack, timeout: float) -> None:
        lease = self._lease()
        has_lock = take_file_lock(taken, self._lock, timeout, _POLL_SECONDS)
        if has_lock and self._names_this_host(lease):
            lease.force_break()  # nobody else on this host is alive: the kernel would not have given the lock
        taken.enter_context(lease.acquire(timeout=timeout, poll_interval=_POLL_SECONDS))

    def _names_this_host(self, lease: SoftFileLease) -> bool:
        record = lease.owner
        return record is not None and _host_of(record) == socket.gethostname()

    def _lease(self) -> SoftFileLease:
        return SoftFileLease(self._record, lease_duration=LEASE_SECONDS, on_compromise=self._say_lost)

    def _say_lost(self, lost: LeaseCompromise) -> None:
        logger.warning(
            "%s: the owner's record of %s was lost (%s): another host may work on it too",
            self._stage,
            self._key,
            lost.reason,
        )


def _host_of(record: OwnerRecord) -> str:
    return record.hostname.partition("?")[0]  # a container adds its process namespace


def _since(started: float) -> str:
    minutes = round((time.monotonic() - started) / 60)
    return f" ({counted(minutes, 'minute')} so far)" if minutes else ""
