"""Values of the wrong JSON type: taken where they say the same, named where they do not, never left out."""

from __future__ import annotations

import json

import pytest

FIELDS = {"format": "coco", "annotations": "a.json"}


@pytest.fixture
def coco(tmp_path, paint, list_data):
    """List a COCO file over images of 24 x 16 pixels, changed by a function."""

    def write(change, count=4, **fields):
        whole = {
            "images": [
                {"id": i, "file_name": f"{i}.png", "width": 24, "height": 16, "patient": i % 2}
                for i in range(count)
            ],
            "annotations": [
                {"id": i, "image_id": i, "category_id": 1, "bbox": [1, 2, 8, 9], "iscrowd": 0, "area": 72}
                for i in range(count)
            ],
            "categories": [{"id": 1, "name": "cat"}],
        }
        for i in range(count):
            paint(tmp_path / f"{i}.png", seed=i)
        change(whole)
        (tmp_path / "a.json").write_text(json.dumps(whole))
        return list_data(tmp_path, "detection", **FIELDS, **fields)

    return write


def each(key, **values):
    """A change of some entries of a list."""

    def change(whole):
        for entry in whole[key]:
            for name, value in values.items():
                entry[name] = value(entry[name]) if callable(value) else value

    return change


def plain(listing):
    return [
        (r.id, r.frame, [(b.x_min, b.y_min, b.x_max, b.y_max, b.label, b.crowd, b.area) for b in r.boxes])
        for r in listing.records
    ]


@pytest.mark.parametrize(
    "change",
    [
        each("images", width=str, height=str),
        each("images", width=float, height=float),
        each("images", width=lambda w: f"{w}.0"),
        each("images", id=str),
        each("images", id=float),
        each("annotations", image_id=str),
        each("annotations", image_id=float),
        each("annotations", category_id=float),
        each("annotations", category_id=str),
        each("annotations", iscrowd="0"),
        each("annotations", iscrowd=False),
        each("annotations", iscrowd=None),
        each("annotations", iscrowd="false"),
        each("annotations", area=str),
        each("annotations", bbox=lambda box: [str(v) for v in box]),
        each("categories", id="1"),
        each("categories", id=1.0),
    ],
)
def test_other_types_that_say_the_same(coco, change):
    wanted = plain(coco(lambda whole: None))
    listing = coco(change)
    assert plain(listing) == wanted
    assert not [f for f in listing.findings if f.kind != "group_column"]


def test_half_of_the_ids_as_text(coco):
    """Every second annotation would belong to nothing, and its image would be background."""

    def change(whole):
        for note in whole["annotations"][::2]:
            note["image_id"] = str(note["image_id"])

    assert [len(r.boxes) for r in coco(change).records] == [1] * 4


def test_crowds_as_text_are_no_crowds(coco):
    assert [b.crowd for r in coco(each("annotations", iscrowd="0")).records for b in r.boxes] == [False] * 4
    assert [b.crowd for r in coco(each("annotations", iscrowd="1")).records for b in r.boxes] == [True] * 4


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (each("images", width="wide"), "bad_image", "`width` is 'wide', not a whole number"),
        (each("images", width=24.5), "bad_image", "`width` is 24.5, not a whole number"),
        (each("images", width=None), "bad_image", "`width` is null, not a whole number"),
        (each("images", width=0), "bad_image", "its size is 0 x 16"),
        (each("images", height=-16), "bad_image", "its size is 24 x -16"),
        (each("images", height=[16]), "bad_image", "`height` is [16], not a whole number"),
        (each("annotations", iscrowd="maybe"), "bad_annotation", "`iscrowd` is 'maybe', neither 0 nor 1"),
        (each("annotations", iscrowd=2), "bad_annotation", "`iscrowd` is 2, neither 0 nor 1"),
        (each("annotations", bbox="1,2,8,9"), "bad_box", "`bbox` is not four numbers"),
        (each("annotations", bbox=[1, 2, 8, "x"]), "bad_box", "`bbox` is not four numbers"),
    ],
)
def test_what_is_not_exact_is_named(coco, change, kind, text):
    listing = coco(change)
    assert listing.records == ()
    found = [f for f in listing.findings if f.severity == "quarantine"]
    assert [f.kind for f in found] == [kind] * 4
    assert text in found[0].reason


def test_ids_that_are_no_ids_are_errors(coco):
    kinds = {f.kind for f in coco(each("annotations", image_id=1.5)).findings if f.severity == "error"}
    assert kinds == {"bad_annotation"}
    kinds = {f.kind for f in coco(each("annotations", category_id=[1])).findings if f.severity == "error"}
    assert kinds == {"unknown_label"}


@pytest.mark.parametrize(("lost", "severity"), [(1, "warning"), (2, "error")])
def test_annotations_without_an_image_above_one_percent_are_an_error(coco, lost, severity):
    def change(whole):
        for note in whole["annotations"][:lost]:
            note["image_id"] = "x"

    (found,) = [f for f in coco(change, count=100).findings if f.kind == "unknown_image"]
    assert (found.severity, found.where) == (severity, "a.json:annotations[0]")
    assert f"{lost} of 100 annotations belong to images that are not listed" in found.reason
    assert "image_id 'x'" in found.reason
    (found,) = [
        f for f in coco(change, count=100, max_bad_fraction=0.5).findings if f.kind == "unknown_image"
    ]
    assert found.severity == "warning"


def test_an_area_that_is_none_is_said(coco):
    listing = coco(each("annotations", area="large"))
    (found,) = [f for f in listing.findings if f.kind == "bad_area"]
    assert found.reason.startswith("4 of 4 annotations have an `area` that is no number above 0")
    assert [b.object_area for r in listing.records for b in r.boxes] == [72] * 4


def test_groups_of_other_types(coco):
    fields = {"split": {"group_by": "patient"}}
    assert [r.group for r in coco(each("images", patient=float), **fields).records] == ["0", "1", "0", "1"]
    found = coco(each("images", patient=[1]), **fields).findings
    assert {(f.kind, f.severity) for f in found} == {("no_group", "error")}
    assert "`patient` is [1], not text" in found[0].reason


def test_class_names_that_are_numbers_are_text(coco):
    assert coco(each("categories", name=7)).classes == ("7",)
