"""Faults of the machine, as the disk and the libraries raise them, are told from bugs."""

import errno
import os
import pickle
import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.exceptions import MlflowException
from safetensors import SafetensorError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from transferflow.errors import DataError, MachineError
from transferflow.machine import machine_error, machine_faults_named

needs_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")


def raised_by(act):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        act()
    return caught.value


def write_to_a_full_disk():
    with Path("/dev/full").open("wb") as stream:
        stream.write(b"x" * 100_000)


def fill(database):
    with database.connect() as connection:
        connection.execute(text("PRAGMA max_page_count = 2"))
        connection.execute(text("CREATE TABLE large (value BLOB)"))
        connection.execute(text("INSERT INTO large VALUES (zeroblob(1000000))"))


@needs_full_device
def test_a_full_disk_names_the_folder_that_is_worked_in(tmp_path):
    problem = machine_error(raised_by(write_to_a_full_disk), tmp_path).problems[0]
    assert problem.what == "the disk is full"
    assert problem.where == str(tmp_path)
    assert "MB are free" in problem.found
    assert "run the same command again" in problem.hint


def test_a_full_database_is_a_full_disk_however_it_is_wrapped(tmp_path):
    error = raised_by(lambda: fill(create_engine(f"sqlite:///{tmp_path}/small.db")))
    assert isinstance(error, OperationalError)
    wrapped = MlflowException("(sqlite3.OperationalError) …")
    wrapped.__cause__ = error
    for found in (error, wrapped, error.orig):
        assert machine_error(found).problems[0].what == "the disk is full"


def test_a_database_that_may_not_be_written(tmp_path):
    sqlite3.connect(tmp_path / "a.db").close()
    with closing(sqlite3.connect(f"file:{tmp_path}/a.db?mode=ro", uri=True)) as database:
        error = raised_by(lambda: database.execute("CREATE TABLE a (b)"))
    assert machine_error(error).problems[0].what == "the disk can't be written to"
    missing = raised_by(lambda: sqlite3.connect(f"file:{tmp_path}/none/a.db?mode=rw", uri=True))
    assert machine_error(missing).problems[0].what == "the database can't be opened"


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (RuntimeError("can't start new thread"), "the machine's memory is full"),
    ],
)
def test_libraries_that_say_it_in_words_alone(error, what):
    assert machine_error(error).problems[0].what == what


@pytest.mark.parametrize("ask", [lambda: torch.empty(1 << 50), lambda: np.empty(1 << 56, np.uint8)])
def test_memory_that_is_not_to_be_had(ask):
    problem = machine_error(raised_by(ask)).problems[0]
    assert problem.what == "the machine's memory is full"
    assert "training.batch_size" in problem.hint
    assert not problem.where


@pytest.mark.parametrize(
    ("act", "what", "where"),
    [
        (lambda folder: (folder / "none").read_text(), "a file or folder is missing", "none"),
        (lambda folder: folder.write_text("x"), "a folder stands where a file should be", ""),
        (lambda folder: (folder / "file" / "x").touch(), "a file stands where a folder should be", "file/x"),
        (lambda folder: (folder / "file").mkdir(), "a file stands where a folder should be", "file"),
        (lambda folder: (folder / "file").replace(folder / "a"), "a folder stands where", "a"),
    ],
)
def test_files_in_the_wrong_place_are_named(tmp_path, act, what, where):
    (tmp_path / "file").touch()
    (tmp_path / "a").mkdir()
    problem = machine_error(raised_by(lambda: act(tmp_path))).problems[0]
    assert problem.what.startswith(what)
    assert problem.where == str(tmp_path / where)


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (errno.EDQUOT, "this user's share of the disk is used up"),
        (errno.EROFS, "the disk can't be written to"),
        (errno.EACCES, "this user has not the right"),
        (errno.EIO, "the disk reports an error"),
        (errno.EMFILE, "too many files are open"),
    ],
)
def test_what_a_test_cannot_bring_about(code, what):
    assert machine_error(OSError(code, os.strerror(code), "/some/file")).problems[0].what.startswith(what)


def test_a_file_above_the_limit_of_the_user(tmp_path):
    def write():
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            (tmp_path / "large").write_bytes(bytes(2000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert "larger than" in machine_error(raised_by(write)).problems[0].what


def look_for_a_file_and_fail():
    try:
        Path("/none").read_text()
    except OSError:
        return {}["bug"]


@pytest.mark.parametrize(
    "error",
    [
        KeyError("id"),
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
        raised_by(look_for_a_file_and_fail),
        sqlite3.IntegrityError("not unique"),
        OSError("words alone"),
    ],
)
def test_a_bug_stays_a_bug(error, tmp_path):
    assert machine_error(error) is None
    with pytest.raises(type(error)), machine_faults_named(tmp_path):
        raise error


@needs_full_device
def test_within_a_block_they_are_raised_in_words(tmp_path):
    with pytest.raises(MachineError, match="the disk is full") as caught, machine_faults_named(tmp_path):
        write_to_a_full_disk()
    assert isinstance(caught.value.__cause__, OSError)
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems


def test_an_error_that_has_words_keeps_them(tmp_path):
    with pytest.raises(DataError, match="an image"), machine_faults_named(tmp_path):
        raise DataError("an image can't be read") from OSError(errno.ENOSPC, "full")
