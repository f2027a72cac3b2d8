import errno
import gc
import os
import pickle
import tempfile
from unittest.mock import Mock

import pyarrow as pa
import pytest

from transferflow.store.mapped import MappedTable

TABLE = pa.table({"name": ["a", None, "é"], "numbers": [[1, 2], [], None]})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_the_same_table_elsewhere(folder):
    shared = MappedTable(TABLE)
    assert list(folder.iterdir()) == []  # a fork needs no file
    copies = [pickle.loads(pickle.dumps(shared)) for _ in range(2)]
    assert all(copy.table.equals(TABLE) for copy in copies)
    assert pickle.loads(pickle.dumps(copies[0])).table.equals(TABLE)
    (place,) = folder.iterdir()  # one, however often it was sent
    assert place.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("table", [TABLE[:0], TABLE.slice(1, 1)])
def test_parts_and_nothing(folder, table):
    shared = MappedTable(table)
    assert pickle.loads(pickle.dumps(shared)).table.equals(table)


def test_the_file_goes_with_its_owner(folder):
    shared = MappedTable(TABLE)
    copy = pickle.loads(pickle.dumps(shared))
    again = pickle.dumps(copy)
    child = os.fork()
    if child == 0:  # a loader process has the owner, too
        try:
            del shared
            gc.collect()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert list(folder.iterdir())
    assert pickle.loads(again).table.equals(TABLE)
    del shared
    gc.collect()
    assert list(folder.iterdir()) == []
    assert copy.table.equals(TABLE)  # what is mapped stays


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_where_no_file_can_be_written_the_table_itself_is_sent(folder, monkeypatch, number):
    real = pa.OSFile
    if number == errno.ENOSPC:
        monkeypatch.setattr(pa, "OSFile", lambda _, mode: real("/dev/full", mode))
    else:
        monkeypatch.setattr(tempfile, "mkdtemp", Mock(side_effect=OSError(number, "quota")))
    sent = pickle.dumps(MappedTable(TABLE))
    assert list(folder.iterdir()) == []  # nothing half written fills the disk
    monkeypatch.undo()
    assert pickle.loads(sent).table.equals(TABLE)


def test_what_a_killed_process_left_goes(folder):
    child = os.fork()
    if child == 0:
        kept = MappedTable(TABLE)
        pickle.dumps(kept)
        os._exit(9)  # as by `kill -9`: nothing is cleaned up
    os.waitpid(child, 0)
    (left,) = folder.iterdir()
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    link = folder / "transferflow-table-link"
    link.symlink_to(elsewhere)
    mine = MappedTable(TABLE)
    copy = pickle.dumps(mine)
    assert left.exists()  # it may have been made this moment
    for entry in folder.iterdir():
        os.utime(entry, (0, 0))
    other = MappedTable(TABLE)
    pickle.dumps(other)
    assert not left.exists()
    assert link.exists()
    assert pickle.loads(copy).table.equals(TABLE)
