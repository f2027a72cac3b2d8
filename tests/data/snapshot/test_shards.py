from __future__ import annotations

import os
import pickle
from functools import partial

from transferflow.data.listing import load_listing
from transferflow.data.snapshot.build import build_snapshot
from transferflow.data.snapshot.manifest import read_table
from transferflow.data.snapshot.shards import ImageReader, Shard, inspect_into, inspect_shard, read_inspected
from transferflow.spec.sections.intensity import FullRange


def test_a_shard_travels_and_keeps_its_order(tmp_path, paint):
    for i in range(5):
        paint(tmp_path / f"{i}.png", seed=i, size=(10 + i, 9))
    (tmp_path / "bad.png").write_bytes(b"")
    shard = Shard(ImageReader(tmp_path, 3, FullRange()), ("3.png", "bad.png", "0.png"))
    table = inspect_shard(pickle.loads(pickle.dumps(shard)))
    assert table["width"].to_pylist() == [13, 0, 10]
    assert table["problem_kind"].to_pylist() == [None, "empty_file", None]


def test_shards_in_files_go_on_where_they_were(tmp_path, paint):
    paint(tmp_path / "a.png")
    shard = Shard(ImageReader(tmp_path, 3, FullRange()), ("a.png",))
    file = inspect_into(shard, tmp_path / "out")
    written = file.stat().st_mtime_ns
    assert inspect_into(shard, tmp_path / "out") == file
    assert file.stat().st_mtime_ns == written
    os.utime(tmp_path / "a.png", ns=(1, 1))
    assert inspect_into(shard, tmp_path / "out") != file


def test_a_mapped_inspection_gives_the_same_snapshot(tmp_path, paint, data_section, truth_of, monkeypatch):
    monkeypatch.setattr("transferflow.data.snapshot.shards.SHARD_SIZE", 9)
    for i in range(60):
        paint(tmp_path / "root" / "ab"[i % 2] / f"{i}.png", seed=i)
    data, truth = data_section(format="image_folder", root=str(tmp_path / "root")), truth_of()
    listing = load_listing(data, truth)
    here = build_snapshot(data, truth, listing, tmp_path / "here")

    def inspect(shards):
        return read_inspected(map(partial(inspect_into, folder=tmp_path / "work"), shards))

    there = build_snapshot(data, truth, listing, tmp_path / "there", inspect=inspect)
    assert read_table(there).equals(read_table(here))
    assert here.fingerprint == there.fingerprint
