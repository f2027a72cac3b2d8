import json
import pickle
import zlib

import pytest

from transferflow.store import blob_index, write_sealed
from transferflow.store.shards import Blob, Shards


def text_of(shards: Shards, key: str) -> str:
    raw, _ = shards.read(key)
    return raw.tobytes().decode()


@pytest.fixture
def shards(tmp_path):
    found = Shards(tmp_path / "cache")
    yield found
    found.close()


def test_blobs_are_found_by_their_keys(shards):
    assert "a" not in shards
    shards.write([Blob("a", b"first", [1, 2]), Blob("b", b"", [])])
    assert "a" in shards
    shards.write([Blob("c", b"third", [3])])
    for copy in (shards, Shards(shards.folder), pickle.loads(pickle.dumps(shards))):
        assert [text_of(copy, key) for key in "abc"] == ["first", "", "third"]
        assert [copy.read(key)[1] for key in "abc"] == [[1, 2], [], [3]]
        assert copy.read("d") is None
        with pytest.raises(ValueError, match="read-only"):
            copy.read("a")[0][0] = 1


def test_a_folder_of_another_version_is_read(tmp_path):
    """The files of the version that kept a dict: key to offset, length, checksum and note."""
    content = b"0123456789"
    (tmp_path / "some.bin").write_bytes(content)
    places = {"x": [0, 4, zlib.crc32(content[:4]), [4, True]], "y": [4, 6, zlib.crc32(content[4:]), []]}
    write_sealed(tmp_path / "some.json", {"blobs": places})
    shards = Shards(tmp_path)
    assert (text_of(shards, "x"), text_of(shards, "y")) == ("0123", "456789")
    assert shards.read("x")[1] == [4, 1]


def test_what_is_written_can_be_read_by_another_version(shards):
    shards.write([Blob("x", b"0123", (4, True)), Blob("y", b"456789", [])])
    (index,) = shards.folder.glob("*.json")
    places = {"x": [0, 4, zlib.crc32(b"0123"), [4, 1]], "y": [4, 6, zlib.crc32(b"456789"), []]}
    assert json.loads(index.read_bytes())["blobs"] == places
    assert index.with_suffix(".bin").read_bytes() == b"0123456789"


def test_of_equal_keys_the_last_counts(shards):
    shards.write([Blob("a", b"old", [])])
    assert text_of(shards, "a") == "old"
    shards.write([Blob("a", b"new", [1])])
    assert text_of(shards, "a") == "new"
    shards.write([Blob("b", b"", [])])
    assert text_of(shards, "a") == "new"


def test_what_is_dropped_stays_away_until_it_is_written(shards):
    shards.write([Blob("a", b"old", []), Blob("b", b"other", [])])
    shards.drop("a")
    assert "a" not in shards
    assert shards.read("a") is None
    shards.write([Blob("c", b"more", [])])
    assert "a" not in shards
    shards.write([Blob("a", b"new", [])])
    assert [text_of(shards, key) for key in "abc"] == ["new", "other", "more"]


def test_bytes_are_checked_once_in_each_process(shards, monkeypatch):
    shards.write([Blob("a", b"first", []), Blob("b", b"second", [])])
    checked, plain = [], zlib.crc32
    monkeypatch.setattr(zlib, "crc32", lambda raw: (checked.append(bytes(raw)), plain(raw))[1])
    for _ in range(3):
        text_of(shards, "a")
    assert checked == [b"first"]
    shards.write([Blob("0", b"", []), Blob("z", b"", [])])  # others move; it is known to be whole
    checked.clear()
    assert [text_of(shards, key) for key in "ab"] == ["first", "second"]
    assert checked == [b"second"]
    assert text_of(pickle.loads(pickle.dumps(shards)), "a") == "first"
    assert checked == [b"second", b"first"]


def test_keys_that_begin_alike(shards, monkeypatch):
    """The first half of what stands for a key need not tell it from another."""
    halves = {"a": (7, 3), "b": (7, 1), "c": (7, 2), "d": (9, 1), "e": (7, 4)}
    monkeypatch.setattr(blob_index, "_halves", halves.__getitem__)
    shards.write(Blob(key, key.encode(), []) for key in "abcd")
    assert [text_of(shards, key) for key in "abcd"] == list("abcd")
    assert "e" not in shards


@pytest.mark.parametrize(
    "place",
    [[0, 4, 1 << 32, []], [0, 1 << 63, 0, []], [0, 4, -1, []], [0, 4, 0, [1 << 64]], [0, 4, 0, ["x"]]],
)
def test_numbers_that_nobody_wrote(tmp_path, place, caplog):
    (tmp_path / "some.bin").write_bytes(b"0123")
    write_sealed(tmp_path / "some.json", {"blobs": {"x": place}})
    assert "x" not in Shards(tmp_path)
    assert "is damaged" in caplog.text
    assert not (tmp_path / "some.json").exists()


def test_another_process_is_sent_no_index(tmp_path):
    sizes = []
    for count in (10, 5000):
        shards = Shards(tmp_path / f"{count:04}")
        for first in range(0, count, 50):
            shards.write(Blob(f"{first + n}", b"x", [n]) for n in range(50))
        sent = pickle.dumps(shards)
        sizes.append(len(sent))
        assert text_of(pickle.loads(sent), "9") == "x"
    assert sizes[0] == sizes[1]
