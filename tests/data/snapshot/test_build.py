from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from transferflow.data.listing import listing_digest, load_listing
from transferflow.data.snapshot.build import build_snapshot, load_snapshot
from transferflow.data.snapshot.diff import compare_snapshots
from transferflow.data.snapshot.manifest import read_rows, read_table
from transferflow.data.snapshot.shards import Shard, inspect_shard
from transferflow.errors import DataError


@pytest.fixture
def folder(tmp_path, paint):
    """90 images of three classes."""
    root = tmp_path / "root"
    for i in range(90):
        paint(root / "abc"[i % 3] / f"{i:02}.png", seed=i)
    return root


def test_a_snapshot_holds_what_is_needed(folder, snapshot_of):
    snapshot = snapshot_of(folder, format="image_folder")
    assert load_snapshot(snapshot.path) == snapshot
    assert {p.name for p in snapshot.path.iterdir()} == {
        "manifest.parquet",
        "quarantine.csv",
        "findings.json",
        "snapshot.json",
    }
    rows = read_rows(snapshot)
    assert len(rows) == 90 == sum(snapshot.counts.values())
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    assert (rows[0].width, rows[0].height) == (24, 16)
    assert rows[0].absolute_path == (folder / rows[0].path).resolve()
    assert rows[0].absolute_mask is None
    test = read_rows(snapshot, "test")
    assert len(test) == snapshot.counts["test"]
    assert sum(snapshot.class_counts["test"].values()) == len(test)


def test_rows_never_leave_the_root(folder, snapshot_of):
    snapshot = snapshot_of(folder, format="image_folder")
    table = read_table(snapshot)
    paths = ["../../etc/passwd", *table["path"].to_pylist()[1:]]
    index = table.schema.get_field_index("path")
    pq.write_table(table.set_column(index, "path", [paths]), snapshot.path / "manifest.parquet")
    with pytest.raises(DataError, match="leaves the data folder"):
        _ = read_rows(snapshot)[0].absolute_path


def test_the_fingerprint_is_of_contents_and_labels(folder, tmp_path, snapshot_of):
    first = snapshot_of(folder, format="image_folder")
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy, copy_function=shutil.copy)
    for file in sorted((copy / "a").iterdir()):
        file.rename(file.with_name(f"renamed_{file.name}"))
    assert snapshot_of(copy, format="image_folder").fingerprint == first.fingerprint
    (copy / "a" / "renamed_00.png").rename(copy / "b" / "new.png")
    assert snapshot_of(copy, format="image_folder").fingerprint != first.fingerprint


def test_what_the_colours_of_masks_mean_is_in_the_fingerprint(tmp_path, paint, snapshot_of):
    root = tmp_path / "root"
    for i in range(30):
        paint(root / "images" / f"{i:02}.png", seed=i)
        mask = np.zeros((16, 24, 3), np.uint8)
        mask[:, i % 20 :] = 255
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / "masks" / f"{i:02}.png")

    def fingerprint(**colours):
        described = {
            "format": "mask_folder",
            "encoding": "rgb",
            "colours": colours,
            "classes": ["sky", "sea"],
        }
        return snapshot_of(root, "segmentation", **described).fingerprint

    black, white = (0, 0, 0), (255, 255, 255)
    assert fingerprint(sky=black, sea=white) == fingerprint(sea=white, sky=black)
    assert fingerprint(sky=black, sea=white) != fingerprint(sky=white, sea=black)


def test_names_and_groups_are_told_apart_by_split(folder, snapshot_of):
    first = snapshot_of(folder, format="image_folder")
    row = read_rows(first, "test")[0]
    row.absolute_path.rename(row.absolute_path.with_name("renamed.png"))
    second = snapshot_of(folder, format="image_folder")
    assert second.fingerprint == first.fingerprint
    assert second.ids["test"] != first.ids["test"]
    assert (second.ids["train"], second.ids["val"]) == (first.ids["train"], first.ids["val"])
    assert second.groups == first.groups


def test_splits_stay_when_the_set_is_shuffled_renamed_and_grown(folder, paint, snapshot_of):
    first = {row.sha256: row.split for row in read_rows(snapshot_of(folder, format="image_folder"))}
    for i, file in enumerate(sorted(folder.rglob("*.png"))):
        file.rename(file.with_name(f"{(i * 37) % 97:03}.png"))
    for i in range(100, 160):
        paint(folder / "abc"[i % 3] / f"new{i}.png", seed=i)
    later = {row.sha256: row.split for row in read_rows(snapshot_of(folder, format="image_folder"))}
    assert len(later) == 150
    assert all(later[sha] == split for sha, split in first.items())


def test_unchanged_files_are_not_read_again(folder, paint, snapshot_of, monkeypatch):
    first = snapshot_of(folder, format="image_folder")
    paint(folder / "a" / "new.png", seed=500)
    paint(folder / "b" / "01.png", seed=501)
    (folder / "c" / "02.png").unlink()
    opened = []
    original = inspect_shard

    def spy(shard: Shard):
        opened.extend(shard.names)
        return original(shard)

    monkeypatch.setattr("transferflow.data.snapshot.shards.inspect_shard", spy)
    second = snapshot_of(folder, previous=first, format="image_folder")
    assert sorted(opened) == ["a/new.png", "b/01.png"]
    monkeypatch.undo()
    fresh = snapshot_of(folder, format="image_folder")
    ours, theirs = read_table(second).to_pydict(), read_table(fresh).to_pydict()
    kept_split = dict(
        zip(read_table(first)["id"].to_pylist(), read_table(first)["split"].to_pylist(), strict=True)
    )
    edited = ours["id"].index("b/01.png")
    assert ours["split"][edited] == kept_split["b/01.png"]
    ours["split"][edited] = theirs["split"][edited]
    assert ours == theirs


def test_other_channels_read_everything_again(folder, snapshot_of):
    first = snapshot_of(folder, format="image_folder")
    gray = snapshot_of(folder, previous=first, format="image_folder", channels=1)
    assert gray.channels == 1
    assert gray.view["channels"] == 1
    assert {r.id: r.split for r in read_rows(gray)} == {r.id: r.split for r in read_rows(first)}


def test_threads_change_nothing(folder, snapshot_of, monkeypatch):
    monkeypatch.setattr("transferflow.data.snapshot.shards.SHARD_SIZE", 7)
    one = snapshot_of(folder, format="image_folder")
    four = snapshot_of(folder, format="image_folder", workers=4)
    assert read_table(one).equals(read_table(four))


def test_bad_files_are_quarantined_up_to_a_share(folder, snapshot_of):
    (folder / "a" / "00.png").write_bytes(b"")
    with pytest.raises(DataError, match="1 of 90 images can't be used") as error:
        snapshot_of(folder, format="image_folder")
    assert "a/00.png: the file is empty" in str(error.value)
    snapshot = snapshot_of(folder, format="image_folder", max_bad_fraction=0.02)
    assert snapshot.quarantined == 1
    lines = (snapshot.path / "quarantine.csv").read_text().splitlines()
    assert lines == ["where,kind,reason", "a/00.png,empty_file,the file is empty"]
    assert all(row.id != "a/00.png" for row in read_rows(snapshot))


def test_progress_is_told(folder, data_section, truth_of, tmp_path):
    data, truth = data_section(format="image_folder", root=str(folder)), truth_of()
    told = []
    build_snapshot(
        data,
        truth,
        load_listing(data, truth),
        tmp_path / "s",
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (90, 90)


@pytest.mark.parametrize("damage", ["missing", "snapshot.json", "manifest.parquet"])
def test_damaged_snapshots_are_refused(folder, snapshot_of, damage, tmp_path):
    snapshot = snapshot_of(folder, format="image_folder")
    if damage == "missing":
        with pytest.raises(DataError, match="missing or damaged"):
            load_snapshot(tmp_path / "none")
        return
    (snapshot.path / damage).write_text("{}")
    with pytest.raises(DataError, match=r"damaged|can't be read"):
        read_rows(load_snapshot(snapshot.path))


def test_listing_digest_sees_what_changes(folder, data_section, truth_of):
    data, truth = data_section(format="image_folder", root=str(folder)), truth_of()

    def now():
        return listing_digest(load_listing(data, truth))

    digests = [now()]
    assert now() == digests[0]
    os.utime(folder / "a" / "00.png", ns=(1, 1))
    digests.append(now())
    (folder / "a" / "00.png").rename(folder / "b" / "00.png")
    digests.append(now())
    (folder / "b" / "00.png").unlink()
    digests.append(now())
    assert len(set(digests)) == 4


def test_exif_turns_boxes_like_the_image(tmp_path, snapshot_of):
    """Boxes drawn on the stored pixels and boxes drawn on the image as seen mean the same region."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[4:8, 10:30] = 255
    images, notes = [], []
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(40):
        pixels[0, 0] = i
        Image.fromarray(pixels).save(tmp_path / f"{i}.png", exif=exif)
        stored = i % 2 == 0
        size = {"width": 40, "height": 20} if stored else {"width": 20, "height": 40}
        images.append({"id": i, "file_name": f"{i}.png", **size})
        bbox = [10, 4, 20, 4] if stored else [12, 10, 4, 20]
        notes.append({"id": i, "image_id": i, "category_id": 1, "bbox": bbox, "iscrowd": 0})
    whole = {"images": images, "annotations": notes, "categories": [{"id": 1, "name": "bar"}]}
    (tmp_path / "a.json").write_text(json.dumps(whole))
    snapshot = snapshot_of(
        tmp_path, "detection", format="coco", annotations="a.json", near_duplicates="ignore"
    )
    for row in read_rows(snapshot):
        assert (row.width, row.height) == (20, 40)
        box = row.boxes[0]
        assert (box.x_min, box.y_min, box.x_max, box.y_max) == (12, 10, 16, 30)
    assert sum(counts["bar"] for counts in snapshot.class_counts.values()) == 40


def test_diff_says_what_changed(folder, paint, snapshot_of):
    old = snapshot_of(folder, format="image_folder")
    for i in range(5):
        paint(folder / "a" / f"new{i}.png", seed=900 + i, size=(48, 32))
    (folder / "b" / "01.png").unlink()
    (folder / "a" / "00.png").rename(folder / "a" / "renamed.png")
    (folder / "a" / "03.png").rename(folder / "c" / "03.png")
    paint(folder / "c" / "02.png", seed=950)
    new = snapshot_of(folder, previous=old, format="image_folder")
    diff = compare_snapshots(old, new)
    assert diff.added == tuple(f"a/new{i}.png" for i in range(5))
    assert diff.removed == ("b/01.png",)
    assert [(c.old, c.new) for c in diff.renamed] == [
        ("a/00.png", "a/renamed.png"),
        ("a/03.png", "c/03.png"),
    ]
    assert [(c.id, c.old, c.new) for c in diff.relabelled] == [("c/03.png", "a", "c")]
    assert [c.id for c in diff.edited] == ["c/02.png"]
    assert diff.moved == ()
    assert diff.kept == 89
    assert diff.changed == 8
    assert diff.size.new_mean > diff.size.old_mean
    assert json.loads(json.dumps(diff.to_json()))["changed"] == 8
    assert compare_snapshots(new, new).changed == 0
