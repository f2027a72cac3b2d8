"""A file that one process at a time holds; on a disk without file locks, too."""

import errno
import fcntl
import threading

import pytest
from filelock import Timeout

from transferflow.store.file_locks import file_lock


@pytest.fixture(params=["flock", "ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def disk(request, monkeypatch):
    """A disk that knows file locks, and three that say in their own way that they know none."""
    if request.param != "flock":

        def refuse(*_):
            raise OSError(getattr(errno, request.param), "no locks here")

        monkeypatch.setattr(fcntl, "flock", refuse)


def is_free(path):
    """Whether somebody else could hold the file."""
    found = []

    def ask():
        try:
            with file_lock(path, timeout=0):
                found.append(True)
        except Timeout:
            found.append(False)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found == [True]


@pytest.mark.usefixtures("disk")
def test_one_holds_it_until_the_block_ends_or_it_is_let_go(tmp_path):
    path = tmp_path / "folder" / "a.lock"
    with file_lock(path):
        assert not is_free(path)
    with file_lock(path) as let_go:
        let_go()
        assert is_free(path)
    assert is_free(path)


def test_another_fault_of_the_disk_is_raised(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="broken"), file_lock(tmp_path / "a.lock", timeout=0):
        pass
