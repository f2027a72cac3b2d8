import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from transferflow.errors import StoreError
from transferflow.store import ArtifactStore, digest, write_atomic

KEY = "a" * 64


def _write(text):
    return lambda folder: (folder / "file.txt").write_text(text)


def test_published_artifact_is_found_with_its_inputs(tmp_path):
    store = ArtifactStore(tmp_path)
    assert store.find("train", KEY) is None
    store.publish("train", KEY, {"lr": 1}, _write("x"))
    artifact = store.get("train", KEY)
    assert (artifact.path / "file.txt").read_text() == "x"
    assert artifact.inputs == {"lr": 1}


def test_first_writer_wins_and_leaves_nothing_beside(tmp_path):
    store = ArtifactStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.publish("train", KEY, {}, _write(str(n))), range(16)))
    assert [p.name for p in store.folder("train", KEY).parent.iterdir()] == [KEY]


def test_failed_write_leaves_no_artifact(tmp_path):
    store = ArtifactStore(tmp_path)

    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.publish("train", KEY, {}, fail)
    assert store.find("train", KEY) is None
    assert list(store.folder("train", KEY).parent.iterdir()) == []


def test_artifact_with_a_missing_file_is_made_again(tmp_path):
    store = ArtifactStore(tmp_path)
    path = store.publish("train", KEY, {}, _write("x")).path
    (path / "file.txt").unlink()
    assert store.find("train", KEY) is None
    with pytest.raises(StoreError, match="missing or incomplete"):
        store.get("train", KEY)
    assert (store.publish("train", KEY, {}, _write("y")).path / "file.txt").read_text() == "y"


def test_damaged_record_is_no_artifact(tmp_path):
    store = ArtifactStore(tmp_path)
    path = store.publish("train", KEY, {}, _write("x")).path
    (path / "record.json").write_text("{")
    assert store.find("train", KEY) is None


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\0b", "a\\b"])
def test_names_never_leave_the_home(tmp_path, name):
    with pytest.raises(StoreError, match="not a valid name"):
        ArtifactStore(tmp_path).folder("train", name)


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


def test_last_inputs_are_remembered_per_spec(tmp_path):
    store = ArtifactStore(tmp_path)
    assert store.last_inputs("train", "digits") is None
    store.remember_inputs("train", "digits", {"lr": 1})
    assert store.last_inputs("train", "digits") == {"lr": 1}
    assert store.last_inputs("train", "other") is None
