import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from transferflow.data.remote import objects
from transferflow.data.remote.objects import MovedError, RemoteFolder
from transferflow.errors import DataError, MissingDependencyError


@pytest.fixture
def folder(bucket):
    bucket.pipe("photos/set/red/1.png", b"one")
    bucket.pipe("photos/set/red/deep/2.png", b"two!")
    bucket.pipe("photos/settings/3.png", b"of another folder")
    bucket.touch("photos/set/empty/")
    return RemoteFolder("s3://photos/set/")


def test_files_at_any_depth_are_listed_and_no_marks_of_folders(folder):
    assert [(file.path, file.size) for file in folder.list()] == [("red/1.png", 3), ("red/deep/2.png", 4)]
    whole = [file.path for file in RemoteFolder("s3://photos").list()]
    assert whole == ["set/red/1.png", "set/red/deep/2.png", "settings/3.png"]


def test_another_content_of_one_size_and_second_is_another_version(folder, bucket):
    before = folder.list()[0]
    bucket.pipe("photos/set/red/1.png", b"eno")
    after = folder.list()[0]
    assert before.size == after.size
    assert before.version != after.version
    assert max(before.version, after.version) < time.time_ns()


def test_what_is_fetched_is_what_was_listed(folder, bucket, tmp_path):
    one, two = folder.list()
    folder.fetch(two, tmp_path / "two")
    assert (tmp_path / "two").read_bytes() == b"two!"
    bucket.pipe("photos/set/red/1.png", b"eno")
    with pytest.raises(MovedError, match=r"red/1\.png"):
        folder.fetch(one, tmp_path / "one")
    bucket.rm("photos/set/red/deep/2.png")
    with pytest.raises(MovedError, match=r"deep/2\.png"):
        folder.fetch(two, tmp_path / "two")


def test_a_full_disk_is_no_fault_of_the_network(folder, bucket):
    bucket.pipe("photos/set/red/1.png", b"x" * 100_000)
    with pytest.raises(OSError, match="No space left"):
        folder.fetch(folder.list()[0], Path("/dev/full"))


def test_a_bucket_or_folder_that_is_not_there_is_named(bucket):
    for address in ("s3://nothing-here/set", "s3://photos/none"):
        with pytest.raises(DataError, match=r"data\.root: the data folder does not exist") as caught:
            RemoteFolder(address).list()
        assert address in str(caught.value)


def test_a_folder_that_may_not_be_read_says_so(folder, monkeypatch):
    def refuse(*_arguments, **_more):
        raise PermissionError("Access Denied for https://user:secret@host/")

    monkeypatch.setattr(folder._system, "find", refuse)
    with pytest.raises(DataError, match="may not be used with this login") as caught:
        folder.list()
    assert "secret" not in str(caught.value)


LIST = "from transferflow import objects; objects._PATIENCE['retries']['max_attempts'] = 1\n"
LIST += "from transferflow.data.remote import objects as o\n"
LIST += "try: o.RemoteFolder('s3://photos/set').list()\nexcept o.DataError as error: print(error)"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "the data folder can't be reached"),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"},
            "no login for the data folder was found",
        ),
    ],
)
def test_no_network_and_no_login_are_told_apart(bucket, changes, words):
    environment = {name: value for name, value in (os.environ | changes).items() if value}
    done = subprocess.run([sys.executable, "-c", LIST], env=environment, capture_output=True, text=True)
    assert words in done.stdout, done.stderr
    assert "AWS_PROFILE" in done.stdout


def test_a_package_that_is_missing_is_named(monkeypatch):
    def missing(*_arguments, **_more):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(MissingDependencyError, match=r"transferflow\[s3\]"):
        RemoteFolder("s3://photos/set")


def test_times_of_other_stores_are_read():
    google = objects._as_listed("a", {"size": 3, "updated": "2026-01-02T03:04:05.678Z", "etag": "x"})
    plain = objects._as_listed("a", {"size": 3, "mtime": 1767323045.678})
    assert plain.version == 1767323045_678_000_000
    assert google.version // 10**9 == plain.version // 10**9 - 1
    assert google.version % 10**9 != plain.version % 10**9  # its etag
    assert objects._as_listed("a", {"size": 3}).version == 0
