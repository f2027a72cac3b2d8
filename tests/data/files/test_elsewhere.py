from __future__ import annotations

import json

import pytest

from transferflow.data.files import elsewhere
from transferflow.data.files.elsewhere import Elsewhere


@pytest.fixture
def root(tmp_path):
    for name in (
        "images/000.png",
        "images/x/001.jpg",
        "images/y/001.jpg",
        "Kürbis/2.PNG",
        "notes.txt",
        "a.b.png",
        ".store/001.jpg",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("000.png", "it lies at 'images/000.png'"),
        ("images/train2017/000.png", "it lies at 'images/000.png'"),
        ("000", "it lies at 'images/000.png'"),
        ("000.jpg", "it lies at 'images/000.png'"),
        ("data\\images\\000.PNG", "it lies at 'images/000.png'"),
        ("/home/me/x/001.jpg", "it lies at 'images/x/001.jpg'"),
        ("001.jpg", "2 files are called so: 'images/x/001.jpg', 'images/y/001.jpg'"),
        ("Ku\u0308rbis/2.png", "it lies at 'Kürbis/2.PNG'"),
        ("a.b", "it lies at 'a.b.png'"),
        ("gone.png", ""),
        ("notes.txt", ""),
    ],
)
def test_where_a_file_lies(root, text, place):
    assert Elsewhere(root).find(text) == place


def test_not_for_ever(root, monkeypatch):
    monkeypatch.setattr(elsewhere, "_MOST_ASKED", 1)
    places = Elsewhere(root)
    assert places.find("000")
    assert not places.find("000")
    monkeypatch.setattr(elsewhere, "_MOST_FILES", 2)
    assert not Elsewhere(root).find("000")


def test_a_table_without_folder_and_extension(root, list_data):
    (root / "t.csv").write_text("path,label\n000,a\ngone,b\n")
    listing = list_data(root, format="csv", file="t.csv")
    assert [f.reason for f in listing.findings] == [
        "no such file: '000'; it lies at 'images/000.png'",
        "no such file: 'gone'",
    ]


def test_a_prefix_in_a_coco_file(root, list_data):
    whole = {
        "images": [{"id": 1, "file_name": "train2017/000.png", "width": 4, "height": 4}],
        "annotations": [],
        "categories": [{"id": 1, "name": "a"}],
    }
    (root / "a.json").write_text(json.dumps(whole))
    (found,) = list_data(root, "detection", format="coco", annotations="a.json", images="images").findings
    assert (found.kind, found.severity) == ("missing", "quarantine")
    assert found.reason == "no such file: 'images/train2017/000.png'; it lies at 'images/000.png'"
