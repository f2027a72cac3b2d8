from __future__ import annotations

import pytest

from transferflow.data.formats.yolo_labels import label_paths
from transferflow.data.formats.yolo_lines import parse_line, read_box
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
    assert [(f.kind, f.where) for f in listing.findings] == [
        ("no_annotation", "images/c.png"),
        ("polygons", "labels/a.txt"),
    ]


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
        ("nc: 3\nnames: [a, b]", r"data\.yaml:1: `nc` and `names` do not agree\n.*nc: 3, and 2 names"),
        ("nc: 1\nnames: {0: a, 1: b}", "do not agree"),
        ("names: [a", "not YAML"),
        ("x: &a [*a]\n", "inside its own anchor"),
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
        ("0 .1 .1 .1", "3 numbers behind the class; allowed: 4 of a box"),
        ("0 .1 .1 .1 .1 .9", "the fifth is a confidence, as predictions have it"),
        ("0 .1 .1 .1 .1 .9 .9 .9", "7 numbers behind the class; allowed: 4 of a box"),
        ("3 .1 .1 .1 .1", "class 3 has no name; there are 0 to 2, counted from 0"),
        ("-1 .1 .1 .1 .1", "class -1"),
        ("cat .1 .1 .1 .1", "not a class number"),
        ("0.5 .1 .1 .1 .1", "not a class number"),
        ("0 a b c d", "not a class number"),
        ("0,.5,.5,.2,.2", "has commas: numbers are separated by blanks"),
        ("0 0,5 0,5 0,2 0,2", "decimals have a point"),
        ("0 20 20 10 10", "20 is no fraction of the image: YOLO's coordinates are 0 to 1, not pixels"),
        ("0 10 10 40 10 40 40", "40 is no fraction of the image"),
    ],
)
def test_bad_lines(line, message):
    parsed = parse_line(line, 1, {0: "a", 1: "b", 2: "c"})
    assert message in str(parsed if isinstance(parsed, str) else read_box(parsed, "polygons", None))


def test_a_class_as_a_decimal_is_a_number():
    assert parse_line("1.0 .1 .1 .1 .1", 1, {0: "a", 1: "b"}).label == "b"


def test_bad_labels_have_their_line(yolo, list_data):
    root = yolo({"a": "0 .5 .5 .1 .1\n0 .5 .5 -.1 .1", "b": "0 .5\n", "c": "0 nan .5 .1 .1", "d": ""})
    (root / "labels" / "e.txt").write_bytes(b"\xff\xfe")
    (root / "images" / "e.png").write_bytes((root / "images" / "d.png").read_bytes())
    listing = list_data(root, "detection", format="yolo")
    assert sorted((f.where, f.kind) for f in listing.findings) == [
        ("labels/a.txt:2", "inverted_box"),
        ("labels/b.txt:1", "bad_annotation"),
        ("labels/c.txt:1", "bad_box"),
        ("labels/e.txt", "bad_annotation"),
    ]
    assert [r.id for r in listing.records] == ["images/d.png"]


POSE = "0 .5 .5 .4 .4 .4 .4 .6 .6 .5 .5"
SEEN = "0 .5 .5 .4 .4 .4 .4 2 .6 .6 1 0 0 0 .5 .5 2"
OUTLINE = "0 .1 .1 .3 .1 .3 .4"


@pytest.mark.parametrize("line", [POSE, SEEN])
def test_keypoints_are_not_taken_for_outlines(yolo, list_data, line):
    root = yolo({"a": line, "b": line, "c": ""})
    with pytest.raises(
        DataError, match=r"(?s)labels/a\.txt:1: .*an outline as well as a box with keypoints.*"
    ):
        list_data(root, "detection", format="yolo")
    for fields in ({"shapes": "keypoints"}, {"names": "pose.yaml"}):
        count, dimensions = (3, 2) if line == POSE else (4, 3)
        (root / "pose.yaml").write_text(f"kpt_shape: [{count}, {dimensions}]\n{NAMES}")
        listing = list_data(root, "detection", format="yolo", **fields)
        boxes = [(b.x_min, b.y_min, b.x_max, b.y_max) for r in listing.records for b in r.boxes]
        assert boxes == [pytest.approx((0.3, 0.3, 0.7, 0.7))] * 2
        (found,) = listing.findings
        assert (found.kind, found.reason) == ("keypoints", "2 labels have keypoints, which are left aside")
    asked = list_data(root, "detection", format="yolo", shapes="polygons")
    assert (len(asked.records) == 3) == (line == POSE)


@pytest.mark.parametrize(
    "lines",
    [
        [OUTLINE, "0 .1 .1 .3 .1 .3 .4 .1 .4"],  # as many points as each needs
        [POSE, "0 .5 .5 .1 .1 .9 .9 .6 .6 .5 .5"],  # of which one is outside of what would be its box
        ["0 .1 .1 .4 .1 .4 .4 .1 .4"] * 2,
    ],
)
def test_outlines(yolo, list_data, lines):
    listing = list_data(yolo(dict(enumerate(lines))), "detection", format="yolo")
    assert [len(r.boxes) for r in listing.records] == [1, 1]
    (found,) = listing.findings
    assert (found.kind, found.severity) == ("polygons", "warning")
    assert found.reason == "2 labels are outlines, of which the box around is taken"


def test_the_spec_says_what_follows_the_class(yolo, list_data):
    root = yolo({"a": OUTLINE, "b": "0 .5 .5 .1 .1"})
    found = list_data(root, "detection", format="yolo", shapes="boxes").findings
    assert [(f.kind, f.where) for f in found if f.severity == "quarantine"] == [
        ("bad_annotation", "labels/a.txt:1")
    ]


def test_other_keypoints_than_the_names_file_says(yolo, list_data):
    root = yolo({"a": POSE, "b": SEEN}, f"kpt_shape: [3, 2]\n{NAMES}")
    found = [f for f in list_data(root, "detection", format="yolo").findings if f.severity == "quarantine"]
    assert [f.where for f in found] == ["labels/b.txt:1"]
    assert "16 numbers behind the class; kpt_shape asks for 10" in found[0].reason


@pytest.mark.parametrize("shape", ["17", "[17]", "[17, 4]", "[a, 3]", "{a: b}"])
def test_a_bad_kpt_shape(yolo, list_data, shape):
    with pytest.raises(DataError, match=r"data\.yaml:1: `kpt_shape` is the number of keypoints and 2 or 3"):
        list_data(yolo({"a": ""}, f"kpt_shape: {shape}\n{NAMES}"), "detection", format="yolo")


def test_two_images_of_one_label_file_are_an_error(yolo, paint, list_data):
    root = yolo({"a": "0 .5 .5 .1 .1", "b": "", "c": None})
    paint(root / "images" / "a.jpg")
    paint(root / "images" / "c.jpg")
    errors = [f for f in list_data(root, "detection", format="yolo").findings if f.severity == "error"]
    assert [(f.kind, f.where) for f in errors] == [("shared_annotation", "images/a.png")]
    assert "images/a.jpg belongs to labels/a.txt as well" in errors[0].reason
    (root / "train.txt").write_text("images/a.png\nimages/b.png\n")
    (root / "data.yaml").write_text(f"train: train.txt\n{NAMES}")
    listing = list_data(root, "detection", format="yolo")
    assert [len(r.boxes) for r in listing.records] == [1, 0]
    assert not listing.findings


@pytest.mark.parametrize(("lost", "severity"), [(1, "warning"), (2, "error")])
@pytest.mark.parametrize("lists", [False, True])
def test_label_files_without_an_image(tmp_path, list_data, lost, severity, lists):
    (tmp_path / "data.yaml").write_text(f"train: train.txt\n{NAMES}" if lists else NAMES)
    (tmp_path / "labels").mkdir()
    (tmp_path / "images").mkdir()
    for i in range(100):
        (tmp_path / "labels" / f"{i:02}.txt").write_text("0 .5 .5 .1 .1")
        if i >= lost:
            (tmp_path / "images" / f"{i:02}.png").touch()
    (tmp_path / "train.txt").write_text("".join(f"images/{i:02}.png\n" for i in range(50, 100)))
    (tmp_path / "labels" / "classes.txt").write_text("no\nyes\n")
    (found,) = list_data(tmp_path, "detection", format="yolo").findings
    assert (found.kind, found.severity, found.where) == ("lone_label", severity, "labels/00.txt")
    assert found.reason.startswith(f"{lost} of 10")


def test_label_folders_without_any_image(yolo, list_data):
    root = yolo({"x/a": "0 .5 .5 .1 .1"})
    for i in range(3):
        file = root / "labels" / "y" / f"{i}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text("0 .5 .5 .1 .1")
    (found,) = list_data(root, "detection", format="yolo").findings
    assert (found.kind, found.severity) == ("lone_label", "error")
    assert found.reason.startswith("3 of 4 label files have no image")


def test_label_files_beside_their_images(yolo, list_data):
    root = yolo({"a": "0 .5 .5 .1 .1", "b": ""}, folder="set", labels="set")
    (root / "set" / "notes.txt").write_text("taken on a Monday\n")
    (root / "set" / "c.txt").write_text("0 .5 .5 .1 .1\n")
    (found,) = list_data(root, "detection", format="yolo", images="set").findings
    assert (found.kind, found.where) == ("lone_label", "set/c.txt")


def test_capitals_in_the_extension_of_a_label_file_are_no_other_file(yolo, list_data):
    root = yolo({"a": "0 0.5 0.5 0.5 0.5\n", "b": "1 0.5 0.5 0.5 0.5\n"})
    (root / "labels" / "b.txt").rename(root / "labels" / "b.TXT")
    listing = list_data(root, "detection", format="yolo")
    assert [box.label for record in listing.records for box in record.boxes] == ["no", "yes"]
    assert listing.findings == ()


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
        ("val.txt:2", "two_splits", "error"),
    ]
    assert "1 name of val is in train too (the first: images/a.png, train.txt:1)" in (
        listing.findings[-1].reason
    )


def test_a_line_twice_in_one_list(lists, list_data):
    root = lists("train: train.txt", train="images/a.png\nimages/a.png\n")
    (found,) = list_data(root, "detection", format="yolo").findings
    assert (found.where, found.kind, found.severity) == ("train.txt:2", "duplicate_id", "error")


def test_lists_with_the_same_images_are_one_error(lists, list_data):
    names = "images/a.png\nimages/b.png\n"
    (found,) = list_data(
        lists("train: train.txt\nval: val.txt", train=names, val=names), "detection", format="yolo"
    ).findings
    assert (found.where, found.kind) == ("val.txt:1", "two_splits")
    assert found.reason.startswith("2 names of val are in train too")


@pytest.mark.parametrize(
    ("train", "val", "what"),
    [
        ("images", "images", "folder"),
        ("images/x", "./images/x/", "folder"),
        ("../images", "images", "folder"),
        ("images", "link", "folder"),
        ("train.txt", "./train.txt", "list"),
    ],
)
def test_train_and_val_that_are_the_same(yolo, list_data, train, val, what):
    root = yolo({"x/a": "0 .5 .5 .1 .1"}, f"train: {train}\nval: {val}\n{NAMES}")
    (root / "train.txt").write_text("images/x/a.png\n")
    (root / "link").symlink_to(root / "images")
    with pytest.raises(DataError, match=rf"data\.yaml:2: train and val are the same {what}"):
        list_data(root, "detection", format="yolo")


def test_a_split_inside_another_one(yolo, list_data):
    root = yolo({"a": "", "val/b": "0 .5 .5 .1 .1"}, f"train: images\nval: images/val\n{NAMES}")
    listing = list_data(root, "detection", format="yolo")
    assert {r.id: r.split for r in listing.records} == {"images/a.png": "train", "images/val/b.png": "val"}


def test_images_in_no_folder_of_the_names_file_are_left_out_and_said(yolo, list_data):
    names = f"train: images/x\nval: images/y\n{NAMES}"
    root = yolo({"x/a": "0 .5 .5 .1 .1", "y/b": "", "z/c": "", "z/d": "", "test/e": ""}, names)
    listing = list_data(root, "detection", format="yolo")
    assert [r.split for r in listing.records] == ["test", "train", "val"]
    (found,) = listing.findings
    assert (found.kind, found.where) == ("unlisted", "images/z/c.png")
    assert found.reason == "2 of 5 images are in no folder of data.yaml and are left out"


@pytest.mark.parametrize("key", ["val", "valid", "validation"])
@pytest.mark.parametrize("path", ["", "path: sub\n", "path: ./sub\n"])
def test_keys_and_path_of_the_names_file(tmp_path, paint, list_data, key, path):
    base = tmp_path / "sub" if path else tmp_path
    for split in "xy":
        paint(base / "images" / split / "a.png", seed=ord(split))
        (base / "labels" / split).mkdir(parents=True)
        (base / "labels" / split / "a.txt").write_text("0 .5 .5 .1 .1")
    (tmp_path / "data.yaml").write_text(f"{path}train: images/x\n{key}: images/y\n{NAMES}")
    images = "sub/images" if path else "images"
    listing = list_data(tmp_path, "detection", format="yolo", images=images)
    assert [(r.split, len(r.boxes)) for r in listing.records] == [("train", 1), ("val", 1)]


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


def test_an_empty_line_among_the_names_would_move_all_others(yolo, list_data):
    root = yolo({"a": "1 .5 .5 .1 .1"})
    (root / "classes.txt").write_text("cat\n\ndog\n\n")
    with pytest.raises(DataError, match=r"classes\.txt:2: a line of the class names is empty"):
        list_data(root, "detection", format="yolo", names="classes.txt")


def test_another_list_of_names_beside_the_labels(yolo, list_data):
    root = yolo({"a": "1 .5 .5 .1 .1"}, "nc: 6\nnames: {0: cat, 1: dog, 5: cow}\n")
    listing = list_data(root, "detection", format="yolo")
    assert not listing.findings
    (root / "labels" / "classes.txt").write_text("dog\ncat\n")
    (found,) = list_data(root, "detection", format="yolo").findings
    assert (found.kind, found.severity, found.where) == ("other_names", "warning", "labels/classes.txt:1")
    assert "it calls the class 0 'dog', and data.yaml calls it 'cat'" in found.reason
    (root / "labels" / "classes.txt").write_text("cat\ndog\n")
    assert not list_data(root, "detection", format="yolo").findings


def test_a_list_of_names_outside_of_the_data_is_not_read(yolo, list_data, tmp_path_factory):
    root = yolo({"a": "1 .5 .5 .1 .1"}, "names: [cat, dog]\n")
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.txt"
    secret.write_text("hunter2\n")
    (root / "labels" / "classes.txt").symlink_to(secret)
    assert not list_data(root, "detection", format="yolo").findings
