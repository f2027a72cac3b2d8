"""Caches that several processes use: none is removed meanwhile, the longest unused one goes first."""

import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

from transferflow.store.in_use import FolderInUse, filling, make_room, remove_if_unused, size_of, unused

HOLDER = """
import sys, time
from pathlib import Path
from transferflow.store.in_use import FolderInUse
held = FolderInUse(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def cache(root, name, size, used_at):
    folder = root / name
    folder.mkdir()
    (folder / "shard.bin").write_bytes(bytes(size))
    os.utime(folder, (used_at, used_at))
    return folder


def test_the_longest_unused_goes_first(tmp_path):
    old, middle, own = (cache(tmp_path, name, 100, at) for name, at in (("b", 1), ("a", 2), ("c", 0)))
    assert make_room(own, 60, 300)
    assert not old.exists()
    assert middle.exists()
    assert own.exists()


def test_nothing_goes_where_there_is_room(tmp_path):
    old, own = cache(tmp_path, "a", 100, 1), cache(tmp_path, "b", 100, 2)
    assert make_room(own, 100, 300)
    assert old.exists()


def test_what_is_in_use_is_skipped(tmp_path):
    old, middle, own = (cache(tmp_path, name, 100, at) for name, at in (("a", 1), ("b", 2), ("c", 3)))
    held = FolderInUse(old)
    assert make_room(own, 60, 300)
    assert old.exists()
    assert not middle.exists()
    assert not make_room(own, 160, 300)
    held.release()
    assert make_room(own, 160, 300)
    assert size_of(own) == 100


def test_to_use_it_is_noted(tmp_path):
    used, other, own = (cache(tmp_path, name, 100, at) for name, at in (("a", 1), ("b", 2), ("c", 3)))
    FolderInUse(used).release()
    assert make_room(own, 60, 300)
    assert used.exists()
    assert not other.exists()


@pytest.mark.skipif(os.name == "nt", reason="the kernel itself refuses")
def test_another_process_holds_it_until_it_is_killed(tmp_path):
    folder = cache(tmp_path, "a", 100, 1)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    assert not remove_if_unused(folder)
    assert folder.exists()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert remove_if_unused(folder)
    assert not folder.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_fork_that_outlives_its_parent_holds_nothing(tmp_path):
    folder = cache(tmp_path, "a", 100, 1)
    held = FolderInUse(folder)
    started, start = os.pipe()
    child = os.fork()
    if not child:
        os.write(start, b"x")
        signal.pause()
    os.read(started, 1)
    try:
        assert not remove_if_unused(folder)
        held.release()
        assert remove_if_unused(folder)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_who_wants_it_waits_until_it_is_removed(tmp_path):
    folder = cache(tmp_path, "a", 100, 1)
    begun, got = threading.Event(), []

    def use():
        begun.set()
        got.append(FolderInUse(folder))

    with unused(folder) as is_unused:
        assert is_unused
        thread = threading.Thread(target=use)
        thread.start()
        begun.wait()
        thread.join(0.2)
        assert not got
    thread.join(10)
    assert got


def test_one_fills_at_a_time_and_the_other_says_that_it_waits(tmp_path, caplog):
    folder, order = tmp_path / "caches" / "a", []

    def fill():
        with filling(folder):
            order.append("second")

    with caplog.at_level(logging.INFO), filling(folder):
        thread = threading.Thread(target=fill)
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert "waiting for another process" in caplog.text
