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


def test_image_sets_say_the_split(voc, list_data):
    root = voc({"a": "", "b": "", "c": ""})
    sets = root / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("a\n")
    (sets / "val.txt").write_text("b  1\n\n")
    listing = list_data(root, "detection", format="voc")
    assert [r.split for r in listing.records] == ["train", "val", None]


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
