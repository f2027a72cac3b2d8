from __future__ import annotations

import json

import pytest

from transferflow.data.formats.folders import is_split_name, looks_like
from transferflow.errors import DataError

CSV = {"format": "csv", "file": "t.csv"}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("seg_train", "train"),
        ("train2017", "train"),
        ("Test-Images", "test"),
        ("trainingset", "train"),
        ("val_data", "val"),
        ("validation", "val"),
        ("train", "train"),
        ("strain", None),
        ("contest", None),
        ("value", None),
        ("set", None),
        ("2017", None),
    ],
)
def test_names_with_the_word_of_a_split(name, split):
    assert looks_like(name) == split


@pytest.mark.parametrize(
    ("name", "is_one"), [("Split", True), ("data_split", True), ("subset", True), ("age", False)]
)
def test_columns_that_may_say_splits(name, is_one):
    assert is_split_name(name) is is_one


def test_class_folders_that_are_named_like_splits_are_an_error(tmp_path, paint, list_data):
    for split in ("seg_train", "seg_test", "seg_pred"):
        for name in ("sea", "forest"):
            paint(tmp_path / split / split / name / "a.png")
    (found,) = [f for f in list_data(tmp_path, format="image_folder").findings if f.severity == "error"]
    assert (found.kind, found.where) == ("unread_split", "seg_test")
    assert "seg_test (2 images), seg_train (2 images); call them train, val and test" in found.reason
    classes = ["seg_pred", "seg_test", "seg_train"]
    assert not list_data(tmp_path, format="image_folder", classes=classes).findings


@pytest.mark.parametrize("names", [("test", "val"), ("Test", "valid_set")])
def test_splits_without_train_are_no_classes(tmp_path, paint, list_data, names):
    for name in names:
        paint(tmp_path / name / "cat" / "a.png")
    assert [f.kind for f in list_data(tmp_path, format="image_folder").findings] == ["unread_split"]


def test_train_stations_are_a_class(tmp_path, paint, list_data):
    for name in ("train_station", "bus_station"):
        paint(tmp_path / name / "a.png")
    assert not list_data(tmp_path, format="image_folder").findings


@pytest.fixture
def listed(tmp_path, paint, list_data):
    """List images of a format, whose folders the test names."""

    def run(kind, folders):
        paths = [f"images/{folder}/{i}.png" for folder in folders for i in range(2)]
        for seed, path in enumerate(paths):
            paint(tmp_path / path, seed=seed)
        fields, task = {"format": kind}, "detection"
        if kind == "csv":
            (tmp_path / "t.csv").write_text("path,label\n" + "".join(f"{p},a\n" for p in paths))
            fields, task = CSV, "classification"
        elif kind == "coco":
            images = [{"id": i, "file_name": p, "width": 24, "height": 16} for i, p in enumerate(paths)]
            whole = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "a"}]}
            (tmp_path / "a.json").write_text(json.dumps(whole))
            fields |= {"annotations": "a.json"}
        elif kind == "yolo":
            (tmp_path / "data.yaml").write_text("names: [a]")
            for path in paths:
                file = tmp_path / path.replace("images", "labels").replace("png", "txt")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
        elif kind == "mask_folder":
            fields, task = fields | {"classes": ["a", "b"]}, "segmentation"
            for path in paths:
                paint(tmp_path / path.replace("images", "masks"))
        else:
            fields |= {"images": "images"}
            for path in paths:
                file = tmp_path / path.replace("images", "Annotations").replace("png", "xml")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("<annotation></annotation>")
        return list_data(tmp_path, task, **fields)

    return run


KINDS = ["csv", "coco", "yolo", "mask_folder", "voc"]


@pytest.mark.parametrize("kind", KINDS)
def test_folders_say_the_split_in_every_format(listed, kind):
    listing = listed(kind, ["Train/x", "valid", "test"])
    assert [r.split for r in sorted(listing.records, key=lambda r: r.id)] == ["train"] * 2 + ["test"] * 2 + [
        "val"
    ] * 2
    said = [f.reason for f in listing.findings if f.kind == "split_folders"]
    assert said == (
        ["folders of the paths say the split: train 2, val 2, test 2"] if kind in ("csv", "coco") else []
    )


@pytest.mark.parametrize("kind", KINDS)
def test_one_folder_alone_says_no_split(listed, kind):
    listing = listed(kind, ["train/x", "train/y"])
    assert {r.split for r in listing.records} == {None}
    assert [f.kind for f in listing.findings] == ["lone_split"]


@pytest.mark.parametrize("kind", KINDS)
def test_folders_that_are_named_like_splits_are_an_error(listed, kind):
    listing = listed(kind, ["seg_train", "seg_test"])
    (found,) = [f for f in listing.findings if f.severity == "error"]
    assert found.kind == "unread_split"


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_beside_declared_folders_is_left_to_the_hash(listed, kind):
    listing = listed(kind, ["train", "test", "extra"])
    assert [r.split for r in sorted(listing.records, key=lambda r: r.id)][:2] == [None, None]


@pytest.mark.parametrize("name", ["Split", "subset", "data_split"])
def test_a_column_that_says_splits_and_is_not_read_is_an_error(tmp_path, paint, list_data, name):
    for i in range(3):
        paint(tmp_path / f"{i}.png", seed=i)
    (tmp_path / "t.csv").write_text(f"path,label,{name}\n0.png,a,train\n1.png,a,Test\n2.png,b,\n")
    (found,) = list_data(tmp_path, **CSV).findings
    assert (found.kind, found.severity, found.where) == ("unread_split", "error", "t.csv:1")
    assert f"the column {name!r} says splits (train 1, Test 1, (empty) 1)" in found.reason
    assert f"set data.columns.split: {name}" in found.reason
    listing = list_data(tmp_path, **CSV, columns={"split": name})
    assert [r.split for r in listing.records] == ["train", "test", None]
    assert not listing.findings


@pytest.mark.parametrize("words", ["A,B,C", "train,train,train", "train,test,other"])
def test_a_column_of_other_words_says_no_split(tmp_path, paint, list_data, words):
    for i in range(3):
        paint(tmp_path / f"{i}.png", seed=i)
    rows = "".join(f"{i}.png,a,{word}\n" for i, word in enumerate(words.split(",")))
    (tmp_path / "t.csv").write_text(f"path,label,set\n{rows}")
    assert not list_data(tmp_path, **CSV).findings


@pytest.fixture
def coco(tmp_path, paint):
    def write(name, ids, **extra):
        images = [
            {"id": i, "file_name": f"{i}.png", "width": 24, "height": 16}
            | {key: words[n] for key, words in extra.items() if words[n]}
            for n, i in enumerate(ids)
        ]
        for i in ids:
            paint(tmp_path / f"{i}.png", seed=i)
        whole = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "a"}]}
        (tmp_path / name).write_text(json.dumps(whole))
        return tmp_path

    return write


def test_an_entry_of_coco_says_the_split(coco, list_data):
    root = coco("a.json", [1, 2, 3], split=["train", "test", ""])
    assert [r.split for r in list_data(root, "detection", format="coco", annotations="a.json").records] == [
        "train",
        "test",
        None,
    ]
    root = coco("a.json", [1, 2, 3], split=["train", "x", ""])
    assert {r.split for r in list_data(root, "detection", format="coco", annotations="a.json").records} == {
        None
    }


def test_one_coco_file_for_two_splits_is_refused(coco, list_data):
    root = coco("a.json", [1])
    (root / "b.json").symlink_to(root / "a.json")
    for val in ("a.json", "./a.json", "b.json"):
        names = {"train": "a.json", "val": val, "test": "c.json"}
        with pytest.raises(DataError, match=r"data\.annotations\.val: train and val are the same file"):
            list_data(root, "detection", format="coco", annotations=names)


def test_images_that_two_coco_files_list_are_one_error(coco, list_data):
    coco("train.json", [1, 2])
    coco("val.json", [1, 2, 3])
    root = coco("test.json", [4])
    names = {split: f"{split}.json" for split in ("train", "val", "test")}
    (found,) = list_data(root, "detection", format="coco", annotations=names).findings
    assert (found.kind, found.severity) == ("two_splits", "error")
    assert found.reason.startswith("2 names of val are in train too (the first: 1.png, train.json:images[0])")


@pytest.mark.parametrize(
    ("name", "words", "kind", "severity"),
    [
        ("is_test", "0,1,0", "unread_split", "error"),
        ("isTrain", "True,False,", "unread_split", "error"),
        ("is_training_image", "yes,no,yes", "unread_split", "error"),
        ("test", "1.0,0.0,0.0", "unread_split", "error"),
        ("is_valid", "False,True,False", "unread_split", "warning"),
        ("fold", "0,1,2", "unread_fold", "warning"),
        ("Split", "1.0,2.0,1.0", "unread_fold", "warning"),
    ],
)
def test_a_column_that_says_splits_in_other_words_is_told(
    tmp_path, paint, list_data, name, words, kind, severity
):
    for i in range(3):
        paint(tmp_path / f"{i}.png", seed=i)
    rows = "".join(f"{i}.png,a,{word}\n" for i, word in enumerate(words.split(",")))
    (tmp_path / "t.csv").write_text(f"path,label,{name}\n{rows}")
    (found,) = list_data(tmp_path, **CSV).findings
    assert (found.kind, found.severity, found.where) == (kind, severity, "t.csv:1")
    assert f"the column {name!r} says" in found.reason
    assert "train, val or test into a column `split`" in found.reason


@pytest.mark.parametrize(
    ("name", "words"), [("test_score", "0,1,0"), ("is_test", "0,0,0"), ("test", "3,5,1"), ("age", "0,1,2")]
)
def test_columns_that_are_called_alike_and_say_no_split(tmp_path, paint, list_data, name, words):
    for i in range(3):
        paint(tmp_path / f"{i}.png", seed=i)
    rows = "".join(f"{i}.png,a,{word}\n" for i, word in enumerate(words.split(",")))
    (tmp_path / "t.csv").write_text(f"path,label,{name}\n{rows}")
    assert not list_data(tmp_path, **CSV).findings


def test_splits_below_the_class_folders_are_read(tmp_path, paint, list_data):
    for path in ("cat/train/a.png", "cat/Test/x/b.png", "dog/train/c.png", "dog/d.png"):
        paint(tmp_path / path)
    listing = list_data(tmp_path, format="image_folder")
    assert {r.id: (r.labels, r.split) for r in listing.records} == {
        "cat/train/a.png": (("cat",), "train"),
        "cat/Test/x/b.png": (("cat",), "test"),
        "dog/train/c.png": (("dog",), "train"),
        "dog/d.png": (("dog",), None),
    }
    (said,) = listing.findings
    assert (said.kind, said.severity) == ("split_folders", "warning")
    assert said.reason == "folders below the class folders say the split: train 2, val 0, test 1"


def test_one_such_folder_below_the_classes_says_nothing(tmp_path, paint, list_data):
    for path in ("land/train/a.png", "land/car/b.png", "water/boat/c.png"):
        paint(tmp_path / path)
    listing = list_data(tmp_path, format="image_folder")
    assert {r.split for r in listing.records} == {None}
    assert not listing.findings


def test_folders_below_the_classes_that_only_look_like_splits_are_an_error(tmp_path, paint, list_data):
    for path in ("cat/train_1/a.png", "cat/test_1/b.png", "dog/train_1/c.png"):
        paint(tmp_path / path)
    (found,) = list_data(tmp_path, format="image_folder").findings
    assert (found.kind, found.severity, found.where) == ("unread_split", "error", "test_1")
