import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from transferflow.store import digest, known_digest, read_bounded, write_atomic


def test_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_atomic_write_keeps_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "f.json"
    write_atomic(path, json.dumps({"a": 1}))
    with pytest.raises(TypeError, match="bytes-like"):
        write_atomic(path, 3)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["f.json"]


def test_a_known_digest_follows_the_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    # https://www.di-mgt.com.au/sha_testvectors.html
    assert known_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    status = path.stat()
    path.write_bytes(b"abd")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert known_digest(path) != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_that_was_replaced_is_hashed_anew(tmp_path):
    path = tmp_path / "file"
    for content in (b"one", b"two", b"three"):
        path.write_bytes(content)
        os.utime(path, ns=(0, 0))
        assert known_digest(path) == hashlib.sha256(content).hexdigest()


def test_a_file_is_read_up_to_a_limit(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes(b"x" * 2_000_000)
    assert len(read_bounded(file, 2_000_000)) == 2_000_000
    with pytest.raises(OSError, match="larger than 1 MB"):
        read_bounded(file, 1_999_999)
    os.mkfifo(tmp_path / "pipe")
    start = time.monotonic()
    with pytest.raises(OSError, match="not a regular file"):
        read_bounded(tmp_path / "pipe", 10)
    with pytest.raises(OSError, match="not a regular file"):
        read_bounded(Path("/dev/zero"), 10)
    assert time.monotonic() - start < 5
    with pytest.raises(IsADirectoryError):
        read_bounded(tmp_path, 10)
