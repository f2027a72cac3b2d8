import errno
import logging
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from transferflow.data.loading import cache as module
from transferflow.data.loading.cache import CacheFolder, build_cache
from transferflow.data.transforms.sample import Resized
from transferflow.store import read_sealed, shards, write_sealed

SIZES = [(7, 9, 3), (12, 5, 3), (4, 4, 3), (8, 8, 3)]
KEYS = ["a", "b", "c", "d"]


def image(place: int) -> Resized:
    random = np.random.default_rng(place)
    pixels = random.integers(0, 256, SIZES[place], np.uint8)
    mask = random.integers(0, 5, SIZES[place][:2], np.uint8) if place % 2 else None
    return Resized(pixels, mask, (100 + place, 200))


class Decoder:
    def __init__(self):
        self.places = []

    def __call__(self, place: int) -> Resized:
        self.places.append(place)
        return image(place)


def build(path, decode, keys=KEYS, settings="settings", max_gb=1.0):
    sizes = [4 * int(np.prod(SIZES[KEYS.index(key)][:2])) for key in keys]
    return build_cache(
        CacheFolder(path, max_gb), settings, keys, sizes, lambda place: decode(KEYS.index(keys[place]))
    )


def assert_same(found: Resized, place: int) -> None:
    expected = image(place)
    np.testing.assert_array_equal(found.image, expected.image)
    assert found.original == expected.original
    if expected.mask is None:
        assert found.mask is None
    else:
        np.testing.assert_array_equal(found.mask, expected.mask)


def test_what_was_decoded_is_read_back(tmp_path):
    decode = Decoder()
    cache = build(tmp_path, decode)
    assert sorted(decode.places) == [0, 1, 2, 3]
    for place, key in enumerate(KEYS):
        assert_same(cache.read(key), place)
    assert cache.read("other") is None


def test_nothing_is_decoded_twice(tmp_path):
    build(tmp_path, Decoder(), keys=KEYS[:3])
    decode = Decoder()
    cache = build(tmp_path, decode)
    assert decode.places == [3]
    for place, key in enumerate(KEYS):
        assert_same(cache.read(key), place)


def test_loader_processes_find_everything_sorted(tmp_path, monkeypatch):
    """What each of them sorted for itself would lie in its own memory."""
    calls, plain = [], shards.join_indexes
    monkeypatch.setattr(shards, "join_indexes", lambda *tables: (calls.append(1), plain(*tables))[1])
    monkeypatch.setattr(module, "_CHUNK", 2)
    cache = build(tmp_path, Decoder())
    assert calls == [1]
    assert_same(cache.read("d"), 3)
    assert calls == [1]


def test_equal_images_are_kept_once(tmp_path):
    decode = Decoder()
    build_cache(CacheFolder(tmp_path, 1.0), "s", ["a", "a", "a"], [300, 300, 300], decode)
    assert len(decode.places) == 1


def test_many_images_go_to_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 2)
    cache = build(tmp_path, Decoder())
    assert len(list((tmp_path / "settings").glob("*.bin"))) == 2
    for place, key in enumerate(KEYS):
        assert_same(cache.read(key), place)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "remove"])
def test_a_damaged_entry_counts_as_absent(tmp_path, damage, caplog):
    build(tmp_path, Decoder(), keys=["a"])
    shard = next((tmp_path / "settings").glob("*.bin"))
    content = bytearray(shard.read_bytes())
    if damage == "remove":
        shard.unlink()
    else:
        content[10] ^= 1
        shard.write_bytes({"flip": content, "cut": content[:20], "empty": b""}[damage])
    cache = build(tmp_path, Decoder(), keys=["a"])
    with caplog.at_level(logging.WARNING):
        assert cache.read("a") is None
    assert "damaged" in caplog.text


@pytest.mark.parametrize("index", ["", "[]", '{"a": 1}', '{"blobs": {"a": [0]}}', "\0"])
def test_a_damaged_index_is_made_anew(tmp_path, index):
    build(tmp_path, Decoder())
    next((tmp_path / "settings").glob("*.json")).write_text(index)
    decode = Decoder()
    cache = build(tmp_path, decode)
    assert len(decode.places) == 4
    assert_same(cache.read("b"), 1)


def test_an_entry_that_points_elsewhere_is_refused(tmp_path):
    build(tmp_path, Decoder(), keys=["a"])
    file = next((tmp_path / "settings").glob("*.json"))
    index = read_sealed(file)
    index["blobs"]["a"][0] = -50
    write_sealed(file, index)
    assert build(tmp_path, Decoder(), keys=["a"]).read("a") is None


def test_a_note_that_fits_other_pixels_is_refused(tmp_path):
    build(tmp_path, Decoder(), keys=["a"])
    file = next((tmp_path / "settings").glob("*.json"))
    index = read_sealed(file)
    index["blobs"]["a"][3][0] = 70
    write_sealed(file, index)
    assert build(tmp_path, Decoder(), keys=["a"]).read("a") is None
    assert_same(build(tmp_path, Decoder(), keys=["a"]).read("a"), 0)


def test_an_interrupted_shard_is_never_read(tmp_path):
    def fails(place: int) -> Resized:
        if place == 2:
            raise KeyboardInterrupt
        return image(place)

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, fails)
    decode = Decoder()
    cache = build(tmp_path, decode)
    assert len(decode.places) == 4
    assert_same(cache.read("d"), 3)


def test_what_does_not_fit_is_not_cached(tmp_path):
    decode = Decoder()
    assert build(tmp_path, decode, max_gb=1e-7) is None
    assert decode.places == []


def test_caches_of_other_settings_make_room(tmp_path):
    total = sum(4 * h * w for h, w, _ in SIZES)
    room = 1.5 * total / 2**30
    build(tmp_path, Decoder(), settings="old", max_gb=room)
    build(tmp_path, Decoder(), settings="new", max_gb=room)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["new"]


def test_what_is_in_use_makes_no_room(tmp_path):
    total = sum(4 * h * w for h, w, _ in SIZES)
    room = 1.5 * total / 2**30
    old = build(tmp_path, Decoder(), settings="old", max_gb=room)
    assert build(tmp_path, Decoder(), settings="new", max_gb=room) is None  # decodes on the fly
    assert_same(old.read("b"), 1)
    assert build(tmp_path, Decoder(), keys=["a"], settings="old", max_gb=room / 100) is None
    copy = pickle.loads(pickle.dumps(old))  # as a loader process has it
    del old
    assert_same(copy.read("b"), 1)
    assert build(tmp_path, Decoder(), settings="new", max_gb=room) is not None


def test_a_process_that_fills_the_same_cache_is_waited_for(tmp_path):
    started, places = threading.Event(), []

    def slow(place):
        started.set()
        time.sleep(0.2)
        places.append(place)
        return image(place)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(build, tmp_path, slow)
        started.wait()
        second = pool.submit(build, tmp_path, slow)
        for cache in (first.result(), second.result()):
            assert all(key in cache.shards for key in KEYS)
    assert sorted(places) == [0, 1, 2, 3]


def test_every_flipped_byte_of_an_index_is_seen(tmp_path):
    build(tmp_path, Decoder(), keys=["a", "b"])
    file = next((tmp_path / "settings").glob("*.json"))
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
        cache = build(tmp_path, Decoder(), keys=["a", "b"])
        assert_same(cache.read("a"), 0)
        assert_same(cache.read("b"), 1)
        for left in (tmp_path / "settings").iterdir():
            if left.stem != file.stem:
                left.unlink()
        (tmp_path / "settings" / f"{file.stem}.bin").write_bytes(b"")


def test_a_full_disk_leaves_what_was_cached(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "_CHUNK", 2)
    write, calls = shards.write_sealed, []

    def full(path, content):
        calls.append(path)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(shards, "write_sealed", full)
    cache = build(tmp_path, Decoder())
    assert "the disk is full" in caplog.text
    assert_same(cache.read("a"), 0)
    assert cache.read("d") is None
    assert len(list((tmp_path / "settings").iterdir())) == 2  # the shard that fits, and its index


def test_images_of_former_data_sets_make_room(tmp_path):
    build(tmp_path, Decoder(), keys=KEYS[:2])
    limit = 1.1 * sum(4 * h * w for h, w, _ in SIZES[2:]) / 2**30
    cache = build(tmp_path, Decoder(), keys=KEYS[2:], max_gb=limit)
    assert cache.read("a") is None
    assert_same(cache.read("d"), 3)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.bin")) <= limit * 2**30


def test_it_can_be_sent_to_another_process(tmp_path):
    cache = build(tmp_path, Decoder())
    cache.read("a")
    copy = pickle.loads(pickle.dumps(cache))
    assert len(pickle.dumps(cache)) < 2000
    assert_same(copy.read("b"), 1)
