from __future__ import annotations

import os

import pytest

from transferflow.data.formats.folders import decide_split_folders
from transferflow.errors import DataError


def kinds(listing):
    return {finding.kind for finding in listing.findings}


def test_top_folder_is_the_class_at_any_depth(tmp_path, paint, list_data):
    for path in ("cat/a.png", "cat/deep/er/b.JPG", "dog/c.webp"):
        paint(tmp_path / path)
    listing = list_data(tmp_path, format="image_folder")
    assert [(r.id, r.labels) for r in listing.records] == [
        ("cat/a.png", ("cat",)),
        ("cat/deep/er/b.JPG", ("cat",)),
        ("dog/c.webp", ("dog",)),
    ]
    assert listing.classes == ("cat", "dog")
    assert all(record.split is None for record in listing.records)


def test_the_description_of_a_fetched_set_is_no_stray_file(tmp_path, paint, list_data):
    paint(tmp_path / "cat" / "a.png")
    (tmp_path / "dataset.json").write_text("{}")
    assert list_data(tmp_path, format="image_folder").findings == ()
    (tmp_path / "cat" / "dataset.json").write_text("{}")
    assert kinds(list_data(tmp_path, format="image_folder")) == {"ignored_files"}


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_split_folders(tmp_path, paint, list_data, val):
    for folder in ("train", val, "test"):
        paint(tmp_path / folder / "cat" / "x" / "a.png")
    listing = list_data(tmp_path, format="image_folder")
    assert [record.split for record in sorted(listing.records, key=lambda r: r.split)] == [
        "test",
        "train",
        "val",
    ]
    assert listing.classes == ("cat",)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat", "dog"], {}),
        (["train", "test"], {"train": "train", "test": "test"}),
        (["train", "val", "extra"], {"train": "train", "val": "val"}),
        (["train"], {"train": "train"}),
        (["train", "bus"], {}),
        (["test", "val"], {}),
    ],
)
def test_decide_split_folders(names, expected):
    assert decide_split_folders(names) == expected


def test_other_files_are_counted(tmp_path, paint, list_data):
    paint(tmp_path / "cat" / "a.png")
    paint(tmp_path / "cat" / ".hidden.png")
    paint(tmp_path / "__MACOSX" / "cat" / "a.png")
    paint(tmp_path / "loose.png")
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    listing = list_data(tmp_path, format="image_folder")
    assert [record.id for record in listing.records] == ["cat/a.png"]
    assert kinds(listing) == {"no_class_folder", "ignored_files", "left_behind", "empty_class"}
    ignored = next(f for f in listing.findings if f.kind == "ignored_files")
    assert "1 .txt" in ignored.reason
    assert "1 hidden" in ignored.reason


def test_links(tmp_path, paint, list_data):
    root = tmp_path / "root"
    paint(root / "cat" / "a.png")
    outside = paint(tmp_path / "secret" / "b.png")
    (root / "cat" / "out.png").symlink_to(outside)
    (root / "cat" / "in.png").symlink_to(root / "cat" / "a.png")
    (root / "cat" / "broken.png").symlink_to(root / "nothing.png")
    (root / "dog").symlink_to(outside.parent)
    (root / "cat" / "loop").symlink_to(root)
    os.mkfifo(root / "cat" / "pipe.png")
    listing = list_data(root, format="image_folder")
    assert [record.id for record in listing.records if "loop" not in record.id] == ["cat/a.png", "cat/in.png"]
    found = {(f.kind, f.severity, f.where) for f in listing.findings if "loop" not in f.where}
    assert found >= {
        ("outside_root", "error", "cat/out.png"),
        ("outside_root", "error", "dog"),
        ("missing", "quarantine", "cat/broken.png"),
        ("not_a_file", "quarantine", "cat/pipe.png"),
    }


def test_file_name_that_is_no_text(tmp_path, paint, list_data):
    paint(tmp_path / "cat" / "a.png")
    source = os.fsencode(tmp_path / "cat" / "a.png")
    os.link(source, os.fsencode(tmp_path / "cat") + b"/\xff\xfe.png")
    listing = list_data(tmp_path, format="image_folder")
    assert len(listing.records) == 1
    assert "bad_name" in kinds(listing)


def test_no_images_says_where_it_looked(tmp_path, list_data):
    with pytest.raises(DataError, match="no image stands in a class folder") as error:
        list_data(tmp_path, format="image_folder")
    assert str(tmp_path) in str(error.value)


def test_a_flat_folder_is_told_what_says_the_labels(tmp_path, paint, list_data):
    paint(tmp_path / "cat" / "a.png")
    with pytest.raises(DataError, match="1 image in no folder; folders: none") as error:
        list_data(tmp_path / "cat", format="image_folder")
    hint = error.value.problems[0].hint
    assert f"the folder above, {tmp_path}" in hint
    assert "`format: csv`" in hint


def test_a_root_that_is_one_folder_too_high(tmp_path, paint, list_data):
    for name in ("cat", "dog"):
        paint(tmp_path / "all" / name / "a.png")
    (finding,) = list_data(tmp_path, format="image_folder").findings
    assert (finding.kind, finding.severity, finding.where) == ("one_class_folder", "error", "all")
    assert "there in cat, dog" in finding.reason
    paint(tmp_path / "other" / "deep" / "er" / "b.png")
    assert not list_data(tmp_path, format="image_folder").findings


def test_missing_root_says_the_absolute_path(tmp_path, list_data):
    with pytest.raises(DataError, match="does not exist") as error:
        list_data(tmp_path / "nowhere", format="image_folder")
    assert str(tmp_path / "nowhere") in str(error.value)
    assert error.value.problems[0].hint


def test_groups_come_from_metadata(tmp_path, paint, list_data):
    paint(tmp_path / "cat" / "a.png")
    paint(tmp_path / "dog" / "b.png")
    with pytest.raises(DataError, match="nothing says the 'patient' of an image"):
        list_data(tmp_path, format="image_folder", split={"group_by": "patient"})
    (tmp_path / "metadata.csv").write_text("file_name,patient\ncat/a.png,007\n")
    listing = list_data(tmp_path, format="image_folder", split={"group_by": "patient"})
    assert [(r.id, r.group) for r in listing.records] == [("cat/a.png", "007")]
    assert [f.where for f in listing.findings if f.kind == "no_group"] == ["dog/b.png"]


def test_a_column_of_patients_in_metadata_is_the_group(tmp_path, paint, list_data):
    for seed, name in enumerate(("cat/a.png", "cat/b.png", "dog/c.png")):
        paint(tmp_path / name, seed=seed)
    (tmp_path / "metadata.csv").write_text("path,Patient_ID\ncat/a.png,7\ncat/b.png,7\n")
    listing = list_data(tmp_path, format="image_folder")
    assert [record.group for record in listing.records] == ["7", "7", None]
    found = {finding.kind: finding for finding in listing.findings}
    assert found["group_column"].where == "metadata.csv:1"
    assert "1 of 3 images" in found["no_group"].reason
    assert {finding.severity for finding in listing.findings} == {"warning"}


@pytest.mark.parametrize("header", ["path,age", "name,patient_id"])
def test_metadata_that_groups_nothing_is_left_alone(tmp_path, paint, list_data, header):
    paint(tmp_path / "cat" / "a.png")
    (tmp_path / "metadata.csv").write_text(f"{header}\ncat/a.png,7\n")
    listing = list_data(tmp_path, format="image_folder")
    assert [record.group for record in listing.records] == [None]
    assert kinds(listing) == {"ignored_files"}


def test_masks_and_thumbnails_beside_images_are_no_images_of_their_class(tmp_path, paint, list_data):
    """As in sets of ultrasound images: `benign (1).png` beside `benign (1)_mask.png`."""
    for name in ("a/1.png", "a/1_mask.png", "a/2.png", "b/3.png", "b/3_thumb.jpg", "b/other_mask.png"):
        paint(tmp_path / name)
    found = list_data(tmp_path, format="image_folder").findings
    assert [(f.kind, f.severity, f.where) for f in found] == [
        ("derived_files", "error", "a/1_mask.png"),
        ("derived_files", "error", "b/3_thumb.jpg"),
    ]
    assert found[0].reason.startswith("1 of 6 images are named like another one, with `_mask` behind")


def test_files_of_other_kinds_are_told_where_there_is_no_image(tmp_path, list_data):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.npy").touch()
    with pytest.raises(DataError, match=r"other files: 1 \.npy"):
        list_data(tmp_path, format="image_folder")
