import errno
import logging
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock, SoftFileLease

from transferflow.store import ArtifactStore, BusyError
from transferflow.store.locks import FORGOTTEN_SECONDS, KeyLock

KEY = "a" * 64
OTHER = "b" * 64
HOLDER = Path(__file__).with_name("holder.py")


@contextmanager
def holder(home):
    """Another process that works on the key, with half an artifact beside its place."""
    process = subprocess.Popen([sys.executable, HOLDER, home, "train", KEY], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def foreign_owner(home, monkeypatch, host="elsewhere"):
    """A live owner's record as another host writes it on a shared disk without file locks."""
    with monkeypatch.context() as patch:
        patch.setattr("filelock._marker.host_name", lambda: host)
        lease = SoftFileLease(home / "locks" / "train" / f"{KEY}.owner", lease_duration=30.0)
        (home / "locks" / "train").mkdir(parents=True)
        lease.acquire()
    yield lease
    lease.release()


def litter(home, key=KEY):
    return list((home / "artifacts" / "train").glob(f".{key}.*"))


def test_a_killed_process_frees_the_lock_and_its_litter_is_swept(tmp_path, caplog):
    with holder(tmp_path) as process, caplog.at_level(logging.INFO):
        assert KeyLock(tmp_path, "train", KEY).owner().startswith(f"process {process.pid} on ")
        with pytest.raises(BusyError), KeyLock(tmp_path, "train", KEY).hold(wait=False):
            pass
        threading.Timer(0.5, process.kill).start()
        started = time.monotonic()
        ArtifactStore(tmp_path).obtain("train", KEY, {}, lambda folder: (folder / "x").touch())
        assert time.monotonic() - started < 10
    assert f"train: waiting for process {process.pid} on" in caplog.text
    assert litter(tmp_path) == []


def test_nobody_sweeps_what_has_an_owner(tmp_path):
    dead = tmp_path / "artifacts" / "train" / f".{OTHER}.{'0' * 32}"
    with holder(tmp_path):
        dead.mkdir()
        ArtifactStore(tmp_path).sweep()
        assert [(path / "half").read_text() for path in litter(tmp_path)] == ["half"]
        assert not dead.exists()
    ArtifactStore(tmp_path).sweep()
    assert litter(tmp_path) == []


def test_files_in_the_making_are_swept_after_a_day_alone(tmp_path):
    fresh, old, kept = (
        tmp_path / "history" / "train" / name
        for name in (f".a.json.{'0' * 32}", f".b.json.{'1' * 32}", "c.json")
    )
    fresh.parent.mkdir(parents=True)
    for path in (fresh, old, kept):
        path.touch()
        os.utime(path, (time.time() - (0 if path == fresh else FORGOTTEN_SECONDS + 60),) * 2)
    ArtifactStore(tmp_path).sweep()
    assert not old.exists()
    assert fresh.exists()
    assert kept.exists()


def test_an_owner_on_another_host_is_respected_while_it_shows_life(tmp_path, monkeypatch):
    with foreign_owner(tmp_path, monkeypatch) as lease:
        with pytest.raises(BusyError, match=f"process {os.getpid()} on elsewhere"):
            KeyLock(tmp_path, "train", KEY).hold(wait=False).__enter__()
        lease.release()
        with KeyLock(tmp_path, "train", KEY).hold(wait=False):
            pass


def test_an_owner_on_another_host_that_shows_no_life_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr("transferflow.store.locks.LEASE_SECONDS", 1.0)
    record = tmp_path / "locks" / "train" / f"{KEY}.owner"
    record.parent.mkdir(parents=True)
    record.write_text("filelock/2\npid=1\nhost=elsewhere\nmode=lease\ntoken=t\nduration=1.0\n")
    started = time.monotonic()
    with KeyLock(tmp_path, "train", KEY).hold():
        assert 0.9 < time.monotonic() - started < 10


def test_litter_of_a_host_that_is_gone_for_a_day_is_swept(tmp_path):
    record = tmp_path / "locks" / "train" / f"{KEY}.owner"
    record.parent.mkdir(parents=True)
    record.write_text("filelock/2\npid=1\nhost=elsewhere\nmode=lease\ntoken=t\nduration=30.0\n")
    (tmp_path / "artifacts" / "train" / f".{KEY}.{'0' * 32}").mkdir(parents=True)
    ArtifactStore(tmp_path).sweep()
    assert litter(tmp_path)
    os.utime(record, (time.time() - FORGOTTEN_SECONDS - 60,) * 2)
    ArtifactStore(tmp_path).sweep()
    assert not litter(tmp_path)


def test_a_disk_without_file_locks_still_has_one_owner(tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with KeyLock(tmp_path, "train", KEY).hold():
        busy = []

        def ask():
            with KeyLock(tmp_path, "train", KEY).hold_if_free() as is_mine:
                busy.append(not is_mine)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert busy == [True]


def test_other_faults_of_the_disk_are_not_taken_for_missing_locks(tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(OSError, match="No space left"), KeyLock(tmp_path, "train", KEY).hold():
        pass
