import json
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from transferflow.errors import StoreError
from transferflow.store import ArtifactStore, BusyError
from transferflow.store.locks import KeyLock

KEY = "a" * 64


def _write(text):
    def write(folder):
        (folder / "masks").mkdir()
        (folder / "file.txt").write_text(text)
        (folder / "masks" / "one.png").write_text("mask")

    return write


def _never(folder):
    raise AssertionError("the artifact is there: nothing is to be made")


def test_an_artifact_is_made_once_and_found_with_its_inputs(tmp_path):
    store = ArtifactStore(tmp_path)
    assert store.find("train", KEY) is None
    assert not store.obtain("train", KEY, {"lr": 1}, _write("x")).reused
    again = store.obtain("train", KEY, {"lr": 1}, _never)
    assert again.reused
    assert again.inputs == {"lr": 1}
    assert (again.path / "file.txt").read_text() == "x"
    assert store.get("train", KEY) == again


def test_of_many_at_once_one_makes_it_and_the_others_reuse_it(tmp_path):
    made = []

    def write(folder):
        made.append(threading.get_ident())
        _write("x")(folder)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ArtifactStore(tmp_path).obtain("train", KEY, {}, write), range(16)))
    assert len(made) == 1
    assert sorted(artifact.reused for artifact in found) == [False] + [True] * 15
    assert [p.name for p in found[0].path.parent.iterdir()] == [KEY]


def test_who_does_not_want_to_wait_is_told_who_has_it(tmp_path):
    store = ArtifactStore(tmp_path)
    with (
        KeyLock(tmp_path, "train", KEY).hold(),
        pytest.raises(BusyError, match=f"(?s)another process works on train aaaa.*process {os.getpid()} on"),
    ):
        store.obtain("train", KEY, {}, _never, wait=False)
    assert not store.obtain("train", KEY, {}, _write("x"), wait=False).reused


def test_a_failure_leaves_no_artifact_and_the_work_so_far(tmp_path):
    store = ArtifactStore(tmp_path)

    def fail(folder):
        (folder / "half.txt").write_text("half")
        (store.work_folder("train", KEY) / "epoch-1").write_text("kept")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.obtain("train", KEY, {}, fail)
    assert store.find("train", KEY) is None
    assert list(store.folder("train", KEY).parent.iterdir()) == []
    assert (store.work_folder("train", KEY) / "epoch-1").exists()
    store.obtain("train", KEY, {}, _write("x"))
    assert not (tmp_path / "work" / "train" / KEY).exists()


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: (path / "file.txt").unlink(), "file.txt: No such file"),
        (lambda path: (path / "file.txt").write_text("longer"), "file.txt has 6 bytes, not 1"),
        (lambda path: _flip(path / "file.txt"), "file.txt is not what was written"),
        (lambda path: _flip(path / "masks" / "one.png"), "masks/one.png is not what was written"),
        (lambda path: _flip(path / "record.json"), "record.json is not what was written"),
        (lambda path: (path / "record.json").write_text("{"), "record.json is not what was written"),
        (lambda path: (path / "record.json").write_text("[[]]"), "record.json is not what was written"),
        (lambda path: (path / "record.json").unlink(), "record.json is not what was written"),
    ],
)
def test_what_is_damaged_is_not_used_and_made_anew(harm, words, tmp_path, caplog):
    store = ArtifactStore(tmp_path)
    path = store.obtain("train", KEY, {"lr": 1}, _write("x")).path
    harm(path)
    assert store.find("train", KEY) is None
    with pytest.raises(StoreError, match="missing or damaged"):
        store.get("train", KEY)
    with caplog.at_level(logging.WARNING):
        assert not store.obtain("train", KEY, {"lr": 1}, _write("y")).reused
    assert f"train: aaaaaaaaaaaa is damaged ({words}" in caplog.text
    assert (store.get("train", KEY).path / "file.txt").read_text() == "y"
    assert [p.name for p in path.parent.iterdir()] == [KEY]


def test_every_flipped_bit_of_a_record_is_seen(tmp_path):
    store = ArtifactStore(tmp_path)
    path = store.obtain("train", KEY, {"lr": 1e-3, "names": {"a": (1, 2)}}, _write("x")).path / "record.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        # JSON has spaces and escapes that mean the same; whatever else is read must be what was written.
        found = store.find("train", KEY)
        assert found is None or found.inputs == {"lr": 1e-3, "names": {"a": [1, 2]}}, place


def test_files_are_hashed_once_per_process(tmp_path, monkeypatch):
    store = ArtifactStore(tmp_path)
    store.obtain("train", KEY, {}, _write("x"))
    assert store.find("train", KEY)
    monkeypatch.setattr("transferflow.store.files.file_digest", _never)
    assert store.find("train", KEY)


def test_what_is_not_accepted_is_replaced(tmp_path):
    store = ArtifactStore(tmp_path)
    store.obtain("register", KEY, {}, _write("x"))
    again = store.obtain("register", KEY, {}, _write("y"), accept=lambda found: False)
    assert not again.reused
    assert (store.get("register", KEY).path / "file.txt").read_text() == "y"
    assert store.obtain("register", KEY, {}, _never, accept=lambda found: True).reused


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\0b", "a\\b"])
def test_names_never_leave_the_home(tmp_path, name):
    with pytest.raises(StoreError, match="not a valid name"):
        ArtifactStore(tmp_path).folder("train", name)


def test_last_inputs_are_remembered_per_spec(tmp_path):
    store = ArtifactStore(tmp_path)
    assert store.last_inputs("train", "digits") is None
    store.remember_inputs("train", "digits", {"lr": 1})
    assert store.last_inputs("train", "digits") == {"lr": 1}
    assert store.last_inputs("train", "other") is None
    (tmp_path / "history" / "train" / "digits.json").write_text(json.dumps([1]))
    assert store.last_inputs("train", "digits") is None
