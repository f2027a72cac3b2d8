from __future__ import annotations

import pytest

from transferflow.data.formats.yolo import label_paths, parse_line
from transferflow.errors import DataError

NAMES = "names: [no, 'yes', 007]\n"


@pytest.fixture
def yolo(tmp_path, paint):
    def write(files, names=NAMES, folder="images", labels="labels"):
        (tmp_path / "data.yaml").write_text(names)
        for i, (stem, text) in enumerate(files.items()):
            paint(tmp_path / folder / f"{stem}.png", seed=i)
            if text is not None:
                target = tmp_path / labels / f"{stem}.txt"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
        return tmp_path

    return write


def test_boxes_are_fractions_until_the_image_is_seen(yolo, list_data):
    root = yolo({"a": "0 0.5 0.5 0.5 0.25\n\n2 0.1 0.1 0.3 0.1 0.3 0.4\n", "b": "", "c": None})
    listing = list_data(root, "detection", format="yolo")
    assert listing.classes == ("no", "yes", "007")
    first = listing.records[0]
    assert first.frame == (1, 1)
    assert [(b.x_min, b.y_min, b.x_max, b.y_max, b.label, b.line) for b in first.boxes] == [
        (0.25, 0.375, 0.75, 0.625, "no", 1),
        (0.1, 0.1, 0.3, 0.4, "007", 3),
    ]
    assert [r.boxes for r in listing.records[1:]] == [(), ()]
    assert [(f.kind, f.where) for f in listing.findings] == [("no_annotation", "images/c.png")]


@pytest.mark.parametrize(
    "names",
    ["names: {0: no, 1: 'yes', 2: 007}\n", "nc: 3\nnames:\n  - no\n  - 'yes'\n  - 007\n"],
)
def test_names(yolo, list_data, names):
    listing = list_data(yolo({"a": ""}, names), "detection", format="yolo")
    assert listing.classes == ("no", "yes", "007")


def test_names_in_a_text_file(yolo, list_data):
    root = yolo({"a": ""})
    (root / "classes.txt").write_text("cat\ndog\n")
    assert list_data(root, "detection", format="yolo", names="classes.txt").classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("names: []", "names no classes"),
        ("names: [a, a]", "a class twice"),
        ("names: [a", "not YAML"),
        ("x: &a [*a]\n", "names no classes"),
        ("", "names no classes"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nnames: [ok, *b]\n", r"data\.yaml:2: text is expected here"),
        ("names: [a]\ntrain: {x: y}\n", r"data\.yaml:2: text is expected here"),
    ],
)
def test_bad_names(yolo, list_data, names, message):
    with pytest.raises(DataError, match=message):
        list_data(yolo({"a": ""}, names), "detection", format="yolo")


def test_layouts_and_splits(yolo, list_data):
    root = yolo({"train/a": "0 .5 .5 .1 .1", "val/b": "", "test/c": ""})
    listing = list_data(root, "detection", format="yolo")
    assert {r.id: r.split for r in listing.records} == {
        "images/train/a.png": "train",
        "images/val/b.png": "val",
        "images/test/c.png": "test",
    }


def test_other_layout(tmp_path, paint, list_data):
    (tmp_path / "data.yaml").write_text("train: ../train/images\n" + NAMES)
    for split in ("train", "valid", "test"):
        paint(tmp_path / split / "images" / "a.png")
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels" / "a.txt").write_text("0 .5 .5 .1 .1")
    listing = list_data(tmp_path, "detection", format="yolo")
    assert [(r.split, len(r.boxes)) for r in listing.records] == [("test", 1), ("train", 1), ("val", 1)]


def test_folders_named_in_the_yaml(yolo, list_data):
    root = yolo({"early/a": "", "late/b": ""}, "train: images/early\nval: images/late\n" + NAMES)
    listing = list_data(root, "detection", format="yolo")
    assert [r.split for r in listing.records] == ["train", "val"]


@pytest.mark.parametrize(
    ("path", "images", "expected"),
    [
        ("images/a.png", "images", ("labels/a.txt",)),
        ("images/train/a.b.png", "images", ("labels/train/a.b.txt",)),
        ("train/images/a.png", ".", ("train/labels/a.txt",)),
        ("pics/x/a.png", "pics", ("labels/x/a.txt", "pics/x/a.txt")),
        ("set/pics/a.png", "set/pics", ("set/labels/a.txt", "set/pics/a.txt")),
        ("obj/a.png", "images", ("obj/a.txt",)),
    ],
)
def test_label_paths(path, images, expected):
    assert label_paths(path, images) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 .1 .1 .1", "3 coordinates"),
        ("0 .1 .1 .1 .1 .9", "5 coordinates"),
        ("3 .1 .1 .1 .1", "class 3 has no name; there are 0 to 2"),
        ("-1 .1 .1 .1 .1", "class -1"),
        ("cat .1 .1 .1 .1", "not a class number"),
        ("0 a b c d", "not a class number"),
    ],
)
def test_bad_lines(line, message):
    assert message in str(parse_line(line, 1, {0: "a", 1: "b", 2: "c"}))


def test_bad_labels_have_their_line(yolo, list_data):
    root = yolo({"a": "0 .5 .5 .1 .1\n0 .5 .5 -.1 .1", "b": "0 .5\n", "c": "0 nan .5 .1 .1", "d": ""})
    (root / "labels" / "e.txt").write_bytes(b"\xff\xfe")
    (root / "images" / "e.png").write_bytes((root / "images" / "d.png").read_bytes())
    listing = list_data(root, "detection", format="yolo")
    assert [(f.where, f.kind) for f in listing.findings] == [
        ("labels/a.txt:2", "inverted_box"),
        ("labels/b.txt:1", "bad_annotation"),
        ("labels/c.txt:1", "bad_box"),
        ("labels/e.txt", "bad_annotation"),
    ]
    assert [r.id for r in listing.records] == ["images/d.png"]


def test_no_labels_at_all(yolo, list_data):
    with pytest.raises(DataError, match="no image has a label file"):
        list_data(yolo({"a": None}), "detection", format="yolo")


@pytest.fixture
def lists(yolo):
    """A data set of four images whose `data.yaml` and lists the test writes."""
    root = yolo(dict.fromkeys(("a", "b", "c", "d"), "0 .5 .5 .1 .1"))

    def write(yaml, **files):
        (root / "data.yaml").write_text(f"{yaml}\n{NAMES}")
        for name, text in files.items():
            (root / f"{name}.txt").write_text(text)
        return root

    return write


def test_lists_say_images_and_splits(lists, list_data):
    root = lists(
        "path: /elsewhere\ntrain: train.txt\nval: ./val.txt\ntest:",
        train="./images/c.png\n\nimages\\a.png\r\n",
        val="images/d.png\n",
    )
    listing = list_data(root, "detection", format="yolo")
    assert [(r.id, r.split, len(r.boxes)) for r in listing.records] == [
        ("images/c.png", "train", 1),
        ("images/a.png", "train", 1),
        ("images/d.png", "val", 1),
    ]
    assert not listing.findings


def test_a_split_of_several_lists_and_folders(lists, list_data, paint):
    root = lists("train: [one.txt, two.txt]\nval: [late/images]", one="images/a.png", two="images/b.png")
    paint(root / "late" / "images" / "x.png")
    listing = list_data(root, "detection", format="yolo")
    assert [(r.id, r.split) for r in listing.records] == [
        ("images/a.png", "train"),
        ("images/b.png", "train"),
        ("late/images/x.png", "val"),
    ]


def test_a_split_of_several_folders(yolo, list_data):
    names = "train: [images/x, ../images/y]\nval: images/z\ntest: gone\n" + NAMES
    listing = list_data(yolo({"x/a": "", "y/b": "", "z/c": ""}, names), "detection", format="yolo")
    assert [r.split for r in listing.records] == ["train", "train", "val"]
    assert [(f.kind, f.where) for f in listing.findings] == [("no_images_there", "data.yaml:3")]


def test_labels_beside_the_images_of_a_list(lists, list_data, paint):
    root = lists("train: sub/train.txt")
    paint(root / "sub" / "obj" / "a.png")
    (root / "sub" / "train.txt").write_text("./obj/a.png")
    (root / "sub" / "obj" / "a.txt").write_text("1 .5 .5 .1 .1")
    listing = list_data(root, "detection", format="yolo")
    assert [(r.id, r.boxes[0].label, r.source) for r in listing.records] == [
        ("sub/obj/a.png", "yes", "sub/obj/a.txt:1")
    ]


def test_bad_lines_of_lists(lists, list_data, tmp_path_factory, paint):
    outside = paint(tmp_path_factory.mktemp("outside") / "x.png")
    root = lists(
        "train: train.txt\nval: val.txt",
        train=f"images/a.png\nimages/gone.png\n../x.png\n{outside}\nimages/link.png\nimages\n",
        val="\nimages/a.png\n",
    )
    (root / "images" / "link.png").symlink_to(outside)
    listing = list_data(root, "detection", format="yolo")
    assert [(f.where, f.kind, f.severity) for f in listing.findings] == [
        ("train.txt:2", "missing", "quarantine"),
        ("train.txt:3", "outside_root", "error"),
        ("train.txt:4", "outside_root", "error"),
        ("train.txt:5", "outside_root", "error"),
        ("train.txt:6", "not_a_file", "quarantine"),
        ("val.txt:2", "duplicate_id", "error"),
    ]
    assert "first in train.txt:1" in listing.findings[-1].reason


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("train: gone.txt", r"(?s)data\.yaml:1: the list of images for 'train'.*no such file"),
        ("\ntrain: ../out.txt", r"(?s)data\.yaml:2: .*leaves the data folder"),
        ("train: train.txt\nval: ../..", r"(?s)data\.yaml:2: .*leaves data.root"),
        ("train: bytes.txt", r"bytes\.txt: the list of images can't be read"),
        ("train: empty.txt", "no image is found"),
    ],
)
def test_bad_lists(lists, list_data, yaml, message):
    root = lists(yaml, train="images/a.png", empty="")
    (root / "bytes.txt").write_bytes(b"\xff")
    (root.parent / "out.txt").write_text("images/a.png")
    with pytest.raises(DataError, match=message):
        list_data(root, "detection", format="yolo")


def test_a_folder_of_labels_that_leaves_the_root(yolo, list_data, tmp_path_factory):
    root, outside = yolo({"a": None, "b": None}), tmp_path_factory.mktemp("outside")
    (outside / "a.txt").write_text("0 .5 .5 .1 .1")
    (root / "labels").symlink_to(outside)
    (first, *_) = list_data(root, "detection", format="yolo").findings
    assert (first.kind, first.where) == ("outside_root", "labels/a.txt")
