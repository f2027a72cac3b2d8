"""A file that one process at a time holds, on any disk.

The kernel frees the lock when its process ends, by `kill -9` too. Some disks know no file locks (NFS without
its lock daemon, some of FUSE): there a record that its owner touches every 10 s stands for the lock, and
counts for nothing half a minute after its owner was killed.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, SoftFileLease, Timeout

NO_FILE_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What asking for a lock comes to on a disk that knows none."""
LEASE_SECONDS = 30.0
"""How long an owner that only a record tells of may show no sign of life."""
_POLL_SECONDS = 0.2


@contextmanager
def file_lock(path: Path, *, timeout: float = -1.0) -> Iterator[Callable[[], None]]:
    """Hold a file alone for the length of the block; yields what lets it go before.

    Args:
        path: The file.
        timeout: Seconds to wait for who holds it; below 0: without end.

    Raises:
        filelock.Timeout: If somebody holds it for longer.
        OSError: If the file can't be written.
    """
    with ExitStack() as held:
        if not take_file_lock(held, path, timeout, _POLL_SECONDS / 4):
            lease = SoftFileLease(path.with_name(f"{path.name}.owner"), lease_duration=LEASE_SECONDS)
            held.enter_context(lease.acquire(timeout=timeout, poll_interval=_POLL_SECONDS))
        yield held.close


def take_file_lock(held: ExitStack, path: Path, timeout: float, poll_interval: float) -> bool:
    """Take the lock of the file alone; `False` where the disk knows none.

    Raises:
        filelock.Timeout: If somebody holds it for longer.
        OSError: If the file can't be written.
    """
    lock = FileLock(path, fallback_to_soft=False)
    try:
        held.enter_context(lock.acquire(timeout=timeout, poll_interval=poll_interval))
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in NO_FILE_LOCKS:
            raise
        return False
    return True
