import gzip
import io
import json
import logging
import tarfile

import fsspec
import pytest

from transferflow.errors import StoreError
from transferflow.store import ArtifactStore, shared
from transferflow.store.locks import KeyLock

KEY, OTHER = "a" * 64, "b" * 64


@pytest.fixture(autouse=True)
def first_contact(monkeypatch):
    monkeypatch.setattr(shared, "_reached", set())


@pytest.fixture
def team(monkeypatch):
    """An empty shared store in this process's memory: its file system."""
    monkeypatch.setenv("TRANSFERFLOW_STORE", "memory://team/tf/")
    system = fsspec.filesystem("memory")
    yield system
    if system.exists("/team"):
        system.rm("/team", recursive=True)


def write(folder):
    (folder / "masks").mkdir()
    (folder / "weights.bin").write_bytes(bytes(1000))
    (folder / "masks" / "one.png").write_text("mask")


def never(folder):
    raise AssertionError("the artifact was shared: nothing is to be made")


def packed(system, stage="train", key=KEY):
    return f"/team/tf/artifacts/{stage}/{key}.tar"


def test_what_one_home_makes_another_has_from_s3(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERFLOW_STORE", "s3://photos/store")
    one, two = ArtifactStore(tmp_path / "one"), ArtifactStore(tmp_path / "two")
    assert not two.holds("train", KEY)
    assert two.last_inputs("train", "cats") is None
    one.obtain("train", KEY, {"lr": 1}, write)
    one.remember_inputs("train", "cats", {"lr": 1})
    assert two.holds("train", KEY)
    assert not (tmp_path / "two" / "artifacts").exists()  # it was asked about, and not fetched
    found = two.obtain("train", KEY, {"lr": 1}, never)
    assert found.reused
    assert found.inputs == {"lr": 1}
    assert found.path.is_relative_to(tmp_path / "two")
    assert sorted(path.name for path in found.path.rglob("*")) == [
        "masks",
        "one.png",
        "record.json",
        "weights.bin",
    ]
    assert two.last_inputs("train", "cats") == {"lr": 1}
    assert [path.name for path in found.path.parent.iterdir()] == [KEY]
    assert bucket.find("photos/store") == [
        f"photos/store/artifacts/train/{KEY}.tar",
        "photos/store/history/train/cats.json",
        "photos/store/transferflow.json",
    ]


def test_a_bucket_that_is_not_there_is_said_before_anything_is_made(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERFLOW_STORE", "s3://phtos/store")
    with pytest.raises(StoreError, match=r"(?s)the shared store does not exist.*s3://phtos/store"):
        ArtifactStore(tmp_path).last_inputs("train", "cats")


def test_finding_fetches_too_but_not_while_somebody_makes_it_here(team, tmp_path):
    ArtifactStore(tmp_path / "one").obtain("train", KEY, {}, write)
    two = ArtifactStore(tmp_path / "two")
    with KeyLock(tmp_path / "two", "train", KEY).hold():
        assert two.find("train", KEY) is None
    assert two.get("train", KEY).path.is_dir()
    assert two.find("train", "none") is None


def test_a_home_that_was_there_before_shares_what_it_has_when_it_is_asked_for(team, tmp_path, monkeypatch):
    monkeypatch.delenv("TRANSFERFLOW_STORE")
    ArtifactStore(tmp_path).obtain("train", KEY, {}, write)
    monkeypatch.setenv("TRANSFERFLOW_STORE", "memory://team/tf")
    assert not team.exists(packed(team))
    ArtifactStore(tmp_path).obtain("train", KEY, {}, never)
    assert team.exists(packed(team))


def test_what_is_registered_stays_with_the_home(team, tmp_path):
    store = ArtifactStore(tmp_path / "one")
    store.obtain("register", KEY, {}, write)
    store.remember_inputs("register", "cats", {"x": 1})
    assert store.last_inputs("register", "cats") == {"x": 1}
    assert team.find("/team/tf") == []  # it was not even asked
    assert ArtifactStore(tmp_path / "two").find("register", KEY) is None


def repack(system, change):
    """Change the members of the shared artifact."""
    with tarfile.open(fileobj=io.BytesIO(system.cat_file(packed(system)))) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
    change(files)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    system.pipe_file(packed(system), stream.getvalue())


@pytest.mark.parametrize(
    "damage",
    [
        lambda team: team.pipe_file(packed(team), team.cat_file(packed(team))[:2000]),
        lambda team: team.pipe_file(packed(team), b"no archive"),
        lambda team: repack(team, lambda files: files.update({"./weights.bin": bytes(999) + b"1"})),
        lambda team: repack(team, lambda files: files.update({"./model.py": b"print()"})),
        lambda team: repack(team, lambda files: files.pop("./record.json")),
        lambda team: repack(team, lambda files: files.update({"../../outside": b"!"})),
        lambda team: repack(team, lambda files: files.update({"./weights.bin/a": b"!"})),
        lambda team: repack(team, lambda files: files.update({"a" * 300: b"!"})),
        lambda team: team.pipe_file(packed(team), gzip.compress(team.cat_file(packed(team)))),
    ],
    ids=["cut", "no archive", "changed", "added", "no record", "outside", "below a file", "long", "zipped"],
)
def test_damage_in_the_shared_store_is_never_used_and_is_mended(team, tmp_path, damage, caplog):
    ArtifactStore(tmp_path / "one").obtain("train", KEY, {}, write)
    damage(team)
    two = ArtifactStore(tmp_path / "two")
    with caplog.at_level(logging.WARNING, "transferflow"):
        assert two.find("train", KEY) is None
    assert "in the shared store is damaged" in caplog.text
    assert not two.obtain("train", KEY, {}, write).reused
    assert not (tmp_path / "outside").exists()
    assert ArtifactStore(tmp_path / "three").obtain("train", KEY, {}, never).reused


def test_an_artifact_under_anothers_key_is_not_taken_for_it(team, tmp_path):
    ArtifactStore(tmp_path / "one").obtain("train", KEY, {}, write)
    team.copy(packed(team), packed(team, key=OTHER))
    assert ArtifactStore(tmp_path / "two").find("train", OTHER) is None


def test_damage_at_home_is_healed_from_what_was_shared(team, tmp_path):
    store = ArtifactStore(tmp_path)
    made = store.obtain("train", KEY, {}, write)
    (made.path / "weights.bin").write_bytes(bytes(999) + b"1")
    assert store.obtain("train", KEY, {}, never).path == made.path
    assert (made.path / "weights.bin").read_bytes() == bytes(1000)


def test_a_store_that_never_answers_is_an_error_and_one_that_stops_is_a_warning(
    team, tmp_path, monkeypatch, caplog
):
    def away(*_arguments, **_more):
        raise OSError("no route to host")

    store = ArtifactStore(tmp_path)
    with monkeypatch.context() as without:
        without.setattr(type(team), "cat_file", away)
        with pytest.raises(StoreError, match=r"(?s)TRANSFERFLOW_STORE: .* can't be reached.*no route.*unset"):
            store.find("train", KEY)
    assert store.find("train", KEY) is None
    monkeypatch.setattr(type(team), "exists", away)
    monkeypatch.setattr(type(team), "put_file", away)
    with caplog.at_level(logging.WARNING, "transferflow"):
        assert not store.obtain("train", KEY, {}, write).reused
    assert "going on without the shared store" in caplog.text
    monkeypatch.undo()
    monkeypatch.setenv("TRANSFERFLOW_STORE", "memory://team/tf")
    store.obtain("train", KEY, {}, never)  # sent now
    assert team.exists(packed(team))


def test_a_damaged_history_is_no_history(team, tmp_path):
    store = ArtifactStore(tmp_path)
    store.remember_inputs("train", "cats", {"lr": 1})
    path = "/team/tf/history/train/cats.json"
    team.pipe_file(path, json.dumps(json.loads(team.cat_file(path)) | {"lr": 2}).encode())
    assert store.last_inputs("train", "cats") == {"lr": 1}  # its own is whole
    assert ArtifactStore(tmp_path / "two").last_inputs("train", "cats") is None


@pytest.mark.parametrize(
    "address",
    ["/mnt/team", "http://host/x", "s3://", "s3://user:secret@host/x", "simplecache::s3://x/y", "file:///x"],
)
def test_addresses_that_can_hold_no_store_are_refused(address, tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERFLOW_STORE", address)
    with pytest.raises(StoreError, match="not an address of a folder in an object store") as caught:
        ArtifactStore(tmp_path)
    assert "secret" not in str(caught.value)
