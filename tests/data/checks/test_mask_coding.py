from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from transferflow.data.formats.masks import mask_files_of
from transferflow.data.listing import load_listing
from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.snapshot.inspection import check_listing
from transferflow.data.snapshot.manifest import read_rows

OBJECT = np.zeros((16, 24), np.uint8)
OBJECT[4:9, 3:20] = 1


@pytest.fixture
def masks(tmp_path, paint):
    """Image and mask folders with one image per mask."""

    def write(*values):
        for i, mask in enumerate(values):
            paint(tmp_path / "images" / f"{i}.png", seed=i)
            (tmp_path / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(tmp_path / "masks" / f"{i}.png")
        return tmp_path

    return write


@pytest.fixture
def check(data_section, truth_of):
    def run(root, classes=("sky", "tree"), ignore_index=None, **fields):
        truth = truth_of("segmentation", ignore_index=ignore_index)
        fields = {"format": "mask_folder", "root": str(root), "classes": classes} | fields
        data = data_section(**{name: value for name, value in fields.items() if value is not None})
        findings = check_listing(data, truth, load_listing(data, truth)).findings
        return {f.kind: f.reason for f in findings if f.severity == "error" or f.kind == "mask_coding"}

    return run


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65_535)])
def test_two_classes_of_black_and_white(masks, snapshot_of, check, dtype, white):
    root = masks(*[OBJECT.astype(dtype) * white] * 11, np.zeros((16, 24), dtype))
    said = check(root)
    assert list(said) == ["mask_coding"]
    assert f"no value but 0 and {white}: {white} is read as the class 'tree'" in said["mask_coding"]
    snapshot = snapshot_of(root, "segmentation", format="mask_folder", classes=["sky", "tree"])
    snapshot = load_snapshot(snapshot.path)
    row = read_rows(snapshot)[0]
    assert np.array_equal(mask_files_of(snapshot, 255).read(row.mask, row.seen), OBJECT)
    assert sum(counts["tree"] for counts in snapshot.class_counts.values()) == 11


def test_white_that_is_asked_not_to_count_is_left_out(masks, check):
    said = check(masks(*[OBJECT * 255] * 12), ignore_index=255)
    assert said == {
        "class_missing": "class 'tree' has no mask in train; the masks hold the values 0, 255 "
        "(255 does not count)"
    }


def test_white_is_no_background(masks, check):
    assert set(check(masks(*[OBJECT * 255] * 12), ("tree", "background"))) == {
        "class_missing",
        "void_in_bulk",
    }


def test_a_mixture_of_codings_has_to_be_cleared_up(masks, check):
    small = np.zeros((16, 24), np.uint8)
    small[3:5, 3:5] = 1
    said = check(masks(*[small, small * 255] * 6))
    assert list(said) == ["void_in_bulk"]
    assert "the value 255 is 0.5% of all pixels, in 6 of 12 masks" in said["void_in_bulk"]
    assert check(masks(*[small, small * 255] * 6), ignore_index=255) == {}


def test_much_void_has_to_be_asked_for(masks, check):
    values = OBJECT.copy()
    values[:3] = values[-1] = 255
    assert list(check(masks(*[values] * 12))) == ["void_in_bulk"]


def test_a_void_border_is_nothing_to_ask_for(masks, check):
    border = OBJECT.copy()
    border[4, 3:20] = border[8, 3:20] = 255
    assert check(masks(*[border] * 12)) == {}


def test_one_class_alone_can_not_be_told_from_anything(masks, check):
    assert "one_class" in check(masks(*[OBJECT * 255] * 12), ("tree",))


def test_a_class_of_the_spec_without_a_pixel_is_an_error(masks, check):
    said = check(masks(*[OBJECT] * 12), ("sky", "tree", "road"))
    assert said == {"class_missing": "class 'road' has no mask in train; the masks hold the values 0, 1"}
    colours = np.stack([OBJECT * 9] * 3, axis=-1)
    named = {"sky": [0, 0, 0], "tree": [9, 9, 9], "road": [7, 7, 7]}
    said = check(masks(*[colours] * 12), classes=None, encoding="rgb", colours=named)
    assert said == {"class_missing": "class 'road' has no mask in train"}


def test_void_colours(masks, snapshot_of, check):
    colours = np.stack([OBJECT * 200] * 3, axis=-1)
    colours[0, :] = (224, 224, 192)
    root = masks(*[colours] * 12)
    fields = {"encoding": "rgb", "colours": {"sky": [0, 0, 0], "tree": [200, 200, 200]}, "classes": None}
    assert "list it in data.void_colours" in check(root, **fields)["mask_value"]
    fields["void_colours"] = [[224, 224, 192]]
    assert check(root, **fields) == {}
    del fields["classes"]
    snapshot = load_snapshot(snapshot_of(root, "segmentation", format="mask_folder", **fields).path)
    wanted = OBJECT.copy()
    wanted[0, :] = 255
    row = read_rows(snapshot)[0]
    assert np.array_equal(mask_files_of(snapshot, 255).read(row.mask, row.seen), wanted)


def test_what_values_mean_is_part_of_the_fingerprint(masks, snapshot_of):
    colours = np.stack([OBJECT * 200] * 3, axis=-1)
    root = masks(*[colours] * 12)
    one, other = (
        snapshot_of(root, "segmentation", format="mask_folder", encoding="rgb", colours=named).fingerprint
        for named in (
            {"sky": [0, 0, 0], "tree": [200, 200, 200]},
            {"sky": [200, 200, 200], "tree": [0, 0, 0]},
        )
    )
    assert one != other


def test_former_facts_of_another_coding_are_not_taken_over(masks, snapshot_of):
    colours = np.stack([OBJECT] * 3, axis=-1)
    root = masks(*[colours] * 12)
    fields = {"encoding": "rgb", "colours": {"sky": [0, 0, 0], "tree": [1, 1, 1]}}
    former = snapshot_of(root, "segmentation", format="mask_folder", **fields)
    again = snapshot_of(root, "segmentation", format="mask_folder", previous=former, **fields)
    assert again.fingerprint == former.fingerprint
    fields["colours"]["tree"] = [2, 2, 2]
    with pytest.raises(Exception, match=r"colour \[1, 1, 1\] is in 12 masks"):
        snapshot_of(root, "segmentation", format="mask_folder", previous=former, **fields)


def test_unlabelled_pixels_of_coco_are_said(tmp_path, paint, data_section, truth_of):
    images = [{"id": i, "file_name": f"{i}.png", "width": 24, "height": 16} for i in range(12)]
    polygons = [
        {"id": i, "image_id": i, "category_id": 1 + i % 2, "segmentation": [[1, 1, 9, 1, 9, 9, 1, 9]]}
        for i in range(12)
    ]
    for i in range(12):
        paint(tmp_path / f"{i}.png", seed=i)
    names = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    whole = {"images": images, "annotations": polygons, "categories": names}
    (tmp_path / "a.json").write_text(json.dumps(whole))
    truth = truth_of("segmentation")
    kinds = []
    for classes in (["a", "b"], ["background", "a", "b"]):
        data = data_section(format="coco", root=str(tmp_path), annotations="a.json", classes=classes)
        kinds.append({f.kind for f in check_listing(data, truth, load_listing(data, truth)).findings})
    assert "unlabelled_pixels" in kinds[0] - kinds[1]


def test_white_of_16_bits_that_does_not_count_has_to_be_saved_otherwise(masks, check):
    said = check(masks(*[OBJECT.astype(np.uint16) * 65_535] * 12))["mask_coding"]
    assert "if such pixels do not count, save them as 255 and set task.ignore_index: 255" in said
