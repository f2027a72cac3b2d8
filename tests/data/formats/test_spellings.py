"""Class names in two spellings that look alike are one class, in every format."""

from __future__ import annotations

import json

import pytest

COMPOSED, TAKEN_APART = "caf\u00e9", "cafe\u0301"


@pytest.fixture
def names(tmp_path, paint, list_data):
    """Labels of four images whose class is written in two ways in a format."""

    def run(kind, one=COMPOSED, other=TAKEN_APART, **fields):
        texts = [one, other, other, "dog"]
        for i in range(4):
            paint(tmp_path / (f"{texts[i]}/{i}.png" if kind == "image_folder" else f"images/{i}.png"), seed=i)
        if kind == "csv":
            rows = "".join(f"images/{i}.png,{text}\n" for i, text in enumerate(texts))
            (tmp_path / "t.csv").write_text(f"path,label\n{rows}", encoding="utf-8")
            listing = list_data(tmp_path, format="csv", file="t.csv", **fields)
        elif kind == "voc":
            (tmp_path / "Annotations").mkdir()
            for i, text in enumerate(texts):
                box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
                whole = f"<annotation><object><name>{text}</name>{box}</object></annotation>"
                (tmp_path / "Annotations" / f"{i}.xml").write_text(whole, encoding="utf-8")
            listing = list_data(tmp_path, "detection", format="voc", images="images", **fields)
        else:
            listing = list_data(tmp_path, format="image_folder", **fields)
        labels = [
            r.labels or tuple(b.label for b in r.boxes)
            for r in sorted(listing.records, key=lambda r: r.id[-5])
        ]
        return labels, listing

    return run


@pytest.mark.parametrize("kind", ["csv", "voc", "image_folder"])
@pytest.mark.parametrize("other", [TAKEN_APART, f"{COMPOSED}\u200b"])
def test_two_spellings_are_one_class_and_said(names, kind, other):
    labels, listing = names(kind, other=other)
    assert labels == [(COMPOSED,), (COMPOSED,), (COMPOSED,), ("dog",)]
    assert listing.classes == (COMPOSED, "dog")
    (found,) = [f for f in listing.findings if f.kind == "spellings"]
    assert found.severity == "warning"
    assert f"{other!a} (2)" in found.reason
    assert f"{COMPOSED!a} (1)" in found.reason


@pytest.mark.parametrize("kind", ["csv", "voc", "image_folder"])
def test_the_spec_and_the_data_may_differ(names, kind):
    labels, listing = names(kind, one=TAKEN_APART, classes=["dog", COMPOSED])
    assert labels[0] == (COMPOSED,)
    assert listing.classes == ("dog", COMPOSED)
    assert not [f for f in listing.findings if f.kind == "spellings"]


def test_categories_of_coco_are_plain(tmp_path, paint, list_data):
    paint(tmp_path / "a.png")
    whole = {
        "images": [{"id": 1, "file_name": "a.png", "width": 24, "height": 16}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}],
        "categories": [{"id": 1, "name": TAKEN_APART}],
    }
    (tmp_path / "a.json").write_text(json.dumps(whole))
    listing = list_data(tmp_path, "detection", format="coco", annotations="a.json", classes=[COMPOSED])
    assert listing.records[0].boxes[0].label == COMPOSED == listing.classes[0]


def test_groups_in_two_spellings_are_one(tmp_path, paint, list_data):
    rows = ""
    for i, patient in enumerate(("M\u00fcller", "Mu\u0308ller")):
        paint(tmp_path / f"{i}.png", seed=i)
        rows += f"{i}.png,a,{patient}\n"
    (tmp_path / "t.csv").write_text(f"path,label,group\n{rows}", encoding="utf-8")
    assert len({r.group for r in list_data(tmp_path, format="csv", file="t.csv").records}) == 1
