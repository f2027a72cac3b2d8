from __future__ import annotations

import pytest

from transferflow.errors import DataError


def obj(label="cat", corners=(1, 2, 11, 12), extra=""):
    names = ("xmin", "ymin", "xmax", "ymax")
    edges = "".join(f"<{n}>{v}</{n}>" for n, v in zip(names, corners, strict=True))
    return f"<object>\n<name>{label}</name>{extra}\n<bndbox>{edges}</bndbox>\n</object>\n"


@pytest.fixture
def voc(tmp_path, paint):
    def write(files):
        (tmp_path / "Annotations").mkdir(exist_ok=True)
        for i, (stem, body) in enumerate(files.items()):
            paint(tmp_path / "JPEGImages" / f"{stem}.png", seed=i)
            text = f"<annotation>\n<filename>{stem}.png</filename>\n{body}</annotation>"
            (tmp_path / "Annotations" / f"{stem}.xml").write_text(
                body if body.startswith(("<?xml", "<!")) else text
            )
        return tmp_path

    return write


SIZE = "<size><width>24</width><height>16</height><depth>3</depth></size>"


def test_boxes(voc, list_data):
    hard = "<difficult>1</difficult><part><name>head</name><bndbox><xmin>0</xmin></bndbox></part>"
    root = voc({"a": SIZE + obj() + obj("dog", (0.5, 1, 3, 4), hard), "b": ""})
    listing = list_data(root, "detection", format="voc")
    first, second = listing.records
    assert [(b.x_min, b.y_min, b.x_max, b.y_max, b.label) for b in first.boxes] == [
        (1, 2, 11, 12, "cat"),
        (0.5, 1, 3, 4, "dog"),
    ]
    assert first.frame == (24, 16)
    assert first.boxes[0].line == 5
    assert second.boxes == ()
    assert listing.classes == ("cat", "dog")
    easy = list_data(root, "detection", format="voc", skip_difficult=True, one_based=True)
    assert [(b.x_min, b.y_min, b.x_max, b.y_max) for b in easy.records[0].boxes] == [(0, 1, 11, 12)]


@pytest.fixture
def sets(voc, list_data):
    """List a set of images under the lists that the test writes."""

    def write(names, folder="ImageSets/Main", **lists):
        root = voc(dict.fromkeys(names, ""))
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name, lines in lists.items():
            (root / folder / f"{name}.txt").write_text("\n".join(lines))
        listing = list_data(root, "detection", format="voc")
        stems = {r.id.removeprefix("JPEGImages/").removesuffix(".png"): r.split for r in listing.records}
        return stems, {f.kind: f for f in listing.findings}

    return write


@pytest.mark.parametrize(
    "spell", ["{}", "{}.png", "{}.jpg", "{}.xml", "{} 1", "{}  -1", "{}\t0", "./{}", "JPEGImages/{}.png"]
)
def test_image_sets_say_the_split(sets, spell):
    lists = {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    splits, found = sets("abcd", **{name: [spell.format(n) for n in names] for name, names in lists.items()})
    assert splits == {"a": "train", "b": "train", "c": "val", "d": "test"}
    assert not {"unlisted", "missing"} & set(found)


@pytest.mark.parametrize("folder", ["ImageSets/Main", "ImageSets"])
def test_what_no_list_names_is_left_out_and_said(sets, folder):
    splits, found = sets("abcdef", folder, train=["a", "b"], val=["c"], test=["d"])
    assert splits == {"a": "train", "b": "train", "c": "val", "d": "test"}
    assert found["unlisted"].reason == (
        "2 of 6 annotations are in no list and are left out, such as Annotations/e.xml; "
        "the lists name train 2, val 1, test 1"
    )
    assert "no_annotation" not in found


def test_names_that_lead_nowhere_are_counted_as_missing(sets):
    splits, found = sets("abc", train=["a"], val=["b"], test=["c", "gone"])
    assert len(splits) == 3
    assert (found["missing"].where, found["missing"].severity) == ("ImageSets/Main/test.txt:2", "quarantine")
    assert found["missing"].reason == "no annotation is named 'gone'"


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({"trainval": "abc", "test": "d"}, {"a": "train", "b": "train", "c": "train", "d": "test"}),
        (
            {"trainval": "abc", "train": "ab", "test": "d"},
            {"a": "train", "b": "train", "c": "val", "d": "test"},
        ),
        ({"trainval": "abc", "val": "a", "test": "d"}, {"a": "val", "b": "train", "c": "train", "d": "test"}),
        (
            {"trainval": "abc", "train": "a", "val": "b", "test": "d"},
            {"a": "train", "b": "val", "c": "train", "d": "test"},
        ),
        ({"Train": "ab", "valid": "c", "TEST": "d"}, {"a": "train", "b": "train", "c": "val", "d": "test"}),
    ],
)
def test_trainval(sets, lists, expected):
    splits, found = sets("abcd", **lists)
    assert splits == expected
    assert "two_splits" not in found


@pytest.mark.parametrize("other", ["val", "test"])
def test_an_image_has_one_split(sets, other):
    _, found = sets("abcd", train=["a", "b"], **{other: ["b", "c"]})
    assert found["two_splits"].severity == "error"
    assert found["two_splits"].reason.startswith(f"1 name of {other} is in train too")


def test_trainval_and_test_have_nothing_in_common(sets):
    _, found = sets("abcd", trainval=["a", "b"], test=["b"])
    assert found["two_splits"].reason.startswith("1 name of trainval is in test too")


def test_lists_of_other_kinds_are_said(sets):
    splits, found = sets("ab", "ImageSets/Segmentation", train=["a"])
    assert splits == {"a": None, "b": None}
    assert found["unread_lists"].where == "ImageSets/Segmentation/train.txt"


def test_names_with_blanks(sets):
    splits, _ = sets(["a b", "c 1"], train=["a b.png"], val=["c 1"])
    assert splits == {"a b": "train", "c 1": "val"}


@pytest.fixture
def nested(tmp_path, paint):
    """Folders of images and annotations that the test names."""

    def write(images, annotations):
        for i, name in enumerate(images):
            paint(tmp_path / "JPEGImages" / name, seed=i)
        for name, filename in annotations.items():
            file = tmp_path / "Annotations" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(
                f"<annotation><filename>{filename}</filename>{obj(file.parent.name)}</annotation>"
            )
        return tmp_path

    return write


def pairs(listing):
    return {record.id.removeprefix("JPEGImages/"): record.source.rsplit(":")[0] for record in listing.records}


def test_the_mirrored_folder_comes_first(nested, list_data):
    root = nested(["a/1.png", "b/1.png"], {"a/1.xml": "1.png"})
    listing = list_data(root, "detection", format="voc")
    assert pairs(listing) == {"a/1.png": "Annotations/a/1.xml"}
    assert [f.kind for f in listing.findings] == ["no_annotation"]
    root = nested([], {"b/1.xml": "1.png"})
    assert pairs(list_data(root, "detection", format="voc")) == {
        "a/1.png": "Annotations/a/1.xml",
        "b/1.png": "Annotations/b/1.xml",
    }


@pytest.mark.parametrize("filename", ["1.png", ""])
def test_folders_of_one_side_alone(nested, list_data, filename):
    root = nested(["a/1.png", "b/2.png"], {"1.xml": filename, "2.xml": filename.replace("1", "2")})
    assert pairs(list_data(root, "detection", format="voc")) == {
        "a/1.png": "Annotations/1.xml",
        "b/2.png": "Annotations/2.xml",
    }


def test_what_stays_ambiguous_is_refused(nested, list_data):
    root = nested(["a/1.png", "b/1.png", "2.jpg", "2.png"], {"1.xml": "1.png", "2.xml": "x.png"})
    found = list_data(root, "detection", format="voc")
    assert found.records == ()
    assert [(f.kind, f.severity, f.where) for f in found.findings if f.severity == "error"] == [
        ("ambiguous", "error", "Annotations/1.xml"),
        ("ambiguous", "error", "Annotations/2.xml"),
    ]
    assert "JPEGImages/a/1.png, JPEGImages/b/1.png" in found.findings[0].reason


def test_other_folders_are_no_partner(nested, list_data):
    (found, _) = list_data(nested(["b/1.png"], {"a/1.xml": "1.png"}), "detection", format="voc").findings
    assert (found.kind, found.severity) == ("missing", "quarantine")
    assert found.reason.startswith("no image is named a/1 or 1.png")


def test_of_two_extensions_the_filename_tells_one(nested, list_data):
    root = nested(["1.jpg", "1.png"], {"1.xml": "1.png"})
    assert pairs(list_data(root, "detection", format="voc")) == {"1.png": "Annotations/1.xml"}


def test_a_stale_filename_never_beats_the_own_name(nested, list_data):
    root = nested(["1.png", "2.png"], {"1.xml": "2.png", "2.xml": "2.png"})
    listing = list_data(root, "detection", format="voc")
    assert pairs(listing) == {"1.png": "Annotations/1.xml", "2.png": "Annotations/2.xml"}
    assert [(f.kind, f.where) for f in listing.findings] == [("stale_filename", "Annotations/1.xml")]


def test_the_filename_counts_where_there_is_no_image_of_the_own_name(nested, list_data):
    root = nested(["a/cat.png", "dog.png"], {"a/1.xml": "cat.png", "a/2.xml": "dog"})
    assert pairs(list_data(root, "detection", format="voc")) == {
        "a/cat.png": "Annotations/a/1.xml",
        "dog.png": "Annotations/a/2.xml",
    }


def test_two_annotations_of_one_image_are_an_error(nested, list_data):
    root = nested(["1.png"], {"a/1.xml": "", "b/1.xml": ""})
    found = list_data(root, "detection", format="voc").findings
    assert [(f.kind, f.where) for f in found] == [("shared_annotation", "Annotations/b/1.xml")]


@pytest.mark.parametrize(
    ("size", "frame"), [("24.0,16.0", (24, 16)), ("0,0", None), (",", None), ("24,16", (24, 16))]
)
def test_sizes(voc, list_data, size, frame):
    width, height = size.split(",")
    root = voc({"a": f"<size><width>{width}</width><height>{height}</height></size>" + obj()})
    assert list_data(root, "detection", format="voc").records[0].frame == frame


@pytest.mark.parametrize("size", ["wide,16", "24.5,16", "-24,16", ",16"])
def test_sizes_that_are_none_are_named(voc, list_data, size):
    width, height = size.split(",")
    root = voc({"a": f"<size><width>{width}</width><height>{height}</height></size>" + obj()})
    (found, *_) = list_data(root, "detection", format="voc").findings
    assert (found.kind, found.severity) == ("bad_annotation", "quarantine")
    assert "`size` is" in found.reason


@pytest.mark.parametrize(("mark", "boxes"), [("1", 0), ("True", 0), ("1.0", None), ("0", 1), ("", 1)])
def test_difficult_objects(voc, list_data, mark, boxes):
    root = voc({"a": obj(extra=f"<difficult>{mark}</difficult>")})
    records = list_data(root, "detection", format="voc", skip_difficult=True).records
    assert [len(r.boxes) for r in records] == ([] if boxes is None else [boxes])
    assert len(list_data(root, "detection", format="voc").records) == 1


def test_each_bad_file_has_its_line(voc, list_data, paint):
    bomb = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]>\n<annotation>&y;</annotation>'
    root = voc(
        {
            "bomb": bomb,
            "cut": "<?xml version='1.0'?>\n<annotation>\n<filename>",
            "encoding": "<?xml version='1.0' encoding='klingon'?><annotation/>",
            "inverted": obj(corners=(11, 2, 1, 12)),
            "text": obj(corners=("a", 2, 1, 12)),
            "nobox": "<object>\n<name>x</name></object>",
            "deep": "<a>" * 60 + "</a>" * 60,
            "page": "<?xml version='1.0'?>\n<html/>",
        }
    )
    paint(root / "JPEGImages" / "lonely.png")
    (root / "Annotations" / "gone.xml").write_text("<annotation><filename>gone.jpg</filename></annotation>")
    out = "<annotation><filename>../../x.png</filename></annotation>"
    (root / "Annotations" / "out.xml").write_text(out)
    listing = list_data(root, "detection", format="voc")
    assert listing.records == ()
    found = {(f.where, f.kind, f.severity) for f in listing.findings}
    assert found == {
        ("Annotations/bomb.xml:1", "bad_annotation", "quarantine"),
        ("Annotations/cut.xml:3", "bad_annotation", "quarantine"),
        ("Annotations/encoding.xml:1", "bad_annotation", "quarantine"),
        ("Annotations/deep.xml:3", "bad_annotation", "quarantine"),
        ("Annotations/page.xml:2", "bad_annotation", "quarantine"),
        ("Annotations/inverted.xml:5", "inverted_box", "quarantine"),
        ("Annotations/text.xml:3", "bad_box", "quarantine"),
        ("Annotations/nobox.xml:3", "bad_box", "quarantine"),
        ("Annotations/gone.xml", "missing", "quarantine"),
        ("Annotations/out.xml", "outside_root", "error"),
        ("JPEGImages/bomb.png", "no_annotation", "warning"),
    }


def test_images_are_found_by_stem(voc, list_data):
    root = voc({"a": obj()})
    file = root / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("a.png", "other.jpeg"))
    assert list_data(root, "detection", format="voc").records[0].path == "JPEGImages/a.png"


def test_missing_folder(tmp_path, list_data):
    with pytest.raises(DataError, match="does not exist") as error:
        list_data(tmp_path, "detection", format="voc")
    assert str(tmp_path / "Annotations") in str(error.value)


def test_the_own_xml_of_cvat_is_named(tmp_path, paint, list_data):
    paint(tmp_path / "JPEGImages" / "a.png")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text("<annotations><image name='a.png'/></annotations>")
    found = list_data(tmp_path, "detection", format="voc").findings
    assert any(f.reason.endswith("export as Pascal VOC") for f in found)


def test_an_object_without_a_name_or_a_box_says_which(tmp_path, paint, list_data):
    objects = {"a": "<name>x</name>", "b": "<name> </name><bndbox/>", "c": "<polygon/>"}
    for name, inner in objects.items():
        paint(tmp_path / "JPEGImages" / f"{name}.png")
        file = tmp_path / "Annotations" / f"{name}.xml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"<annotation><object>{inner}</object></annotation>")
    found = [f for f in list_data(tmp_path, "detection", format="voc").findings if f.kind == "bad_box"]
    assert [f.reason.rpartition("here is no ")[2] for f in found] == [
        "`bndbox`",
        "`name`",
        "`name` and `bndbox`",
    ]


def test_sizes_in_place_of_the_far_corner_are_told_once(voc, list_data):
    near, far = obj(corners=(2, 2, 8, 6)), obj(corners=(12, 9, 8, 6))  # both 8 wide and 6 high
    listing = list_data(voc({"a": SIZE + near, "b": SIZE + far + near}), "detection", format="voc")
    (found,) = [finding for finding in listing.findings if finding.kind == "box_sizes"]
    assert found.severity == "error"
    assert found.where == "Annotations/b.xml:5"
    assert "1 of 3 boxes end before they begin" in found.reason
    assert "xmin + width" in found.reason


@pytest.mark.parametrize("right", [obj(corners=(12, 9, 20, 12)), obj(corners=(5, 2, 23, 6))])
def test_a_box_that_is_no_size_leaves_the_others_inverted_alone(voc, list_data, right):
    inverted = obj(corners=(12, 9, 8, 6))
    listing = list_data(voc({"a": SIZE + inverted, "b": SIZE + right}), "detection", format="voc")
    assert [finding.kind for finding in listing.findings if finding.severity != "warning"] == ["inverted_box"]


def test_a_few_inverted_boxes_are_no_sizes_below_the_allowed_share(voc, list_data):
    root = voc({"a": SIZE + obj(corners=(2, 2, 8, 6)), "b": SIZE + obj(corners=(12, 9, 8, 6))})
    listing = list_data(root, "detection", format="voc", max_bad_fraction=0.5)
    assert "box_sizes" not in {finding.kind for finding in listing.findings}
