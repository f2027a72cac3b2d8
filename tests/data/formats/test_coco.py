from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from pycocotools import mask as judge
from pycocotools.coco import COCO

from transferflow.data.files.paths import split_mask
from transferflow.data.formats.masks import mask_files_of
from transferflow.data.formats.rle import draw_runs, encode_segmentation, segmentation_problem
from transferflow.data.listing import listing_digest
from transferflow.data.snapshot.diff import compare_snapshots
from transferflow.data.snapshot.manifest import read_rows, read_table, write_table
from transferflow.errors import DataError


@pytest.fixture
def coco(tmp_path, paint):
    """Write a COCO file over images of 24 x 16 pixels."""

    def write(images, annotations, name="a.json", categories=("cat", "dog")):
        entries = [
            {"id": i, "file_name": f"{i}.png", "width": 24, "height": 16, **extra}
            for i, extra in images.items()
        ]
        for i in images:
            paint(tmp_path / f"{i}.png", seed=i)
        whole = {
            "images": entries,
            "annotations": [{"id": n, **note} for n, note in enumerate(annotations)],
            "categories": [{"id": 10 * (n + 1), "name": name} for n, name in enumerate(categories)],
        }
        (tmp_path / name).write_text(json.dumps(whole))
        return tmp_path

    return write


def box(image, values, category=10, **extra):
    return {"image_id": image, "category_id": category, "bbox": values, "iscrowd": 0, **extra}


def test_boxes_are_those_of_pycocotools(coco, list_data):
    notes = [box(1, [1.5, 2, 3.25, 4]), box(1, [0, 0, 24, 16], 20, iscrowd=1), box(3, [5, 5, 1, 1])]
    root = coco({1: {}, 2: {}, 3: {}}, notes)
    listing = list_data(root, "detection", format="coco", annotations="a.json")
    reference = COCO(str(root / "a.json"))
    assert listing.classes == ("cat", "dog")
    assert [len(r.boxes) for r in listing.records] == [2, 0, 1]
    for record, image in zip(listing.records, (1, 2, 3), strict=True):
        wanted = reference.loadAnns(reference.getAnnIds(image))
        for ours, note in zip(record.boxes, wanted, strict=True):
            x, y, width, height = note["bbox"]
            assert (ours.x_min, ours.y_min, ours.x_max, ours.y_max) == (x, y, x + width, y + height)
            assert ours.crowd == bool(note["iscrowd"])
            assert ours.label == reference.cats[note["category_id"]]["name"]


def test_the_area_of_an_object_is_kept_in_the_snapshot(coco, snapshot_of, list_data):
    areas = [7.25, 0, -3, "9", None, True, float("nan"), 8]
    notes = [box(1, [1 + i, 2, 3, 4], area=area) for i, area in enumerate(areas)]
    splits = {split: f"{split}.json" for split in ("train", "val", "test")}
    for number, name in enumerate(splits.values(), 1):
        mine = [note | {"image_id": number} for note in notes]
        root = coco({number: {}}, mine, name)
    snapshot = snapshot_of(root, "detection", format="coco", annotations=splits)
    for row in read_rows(snapshot):
        assert [b.area for b in row.boxes] == [7.25, None, None, 9, None, None, None, 8]
        assert [b.object_area for b in row.boxes] == [7.25, 12, 12, 9, 12, 12, 12, 8]
    before = listing_digest(list_data(root, "detection", format="coco", annotations=splits))
    coco({3: {}}, [notes[0] | {"image_id": 3, "area": 7.5}, *mine[1:]], "test.json")
    again = snapshot_of(root, "detection", format="coco", annotations=splits)
    assert listing_digest(list_data(root, "detection", format="coco", annotations=splits)) != before
    assert again.fingerprint != snapshot.fingerprint
    assert compare_snapshots(snapshot, again).changed == 0


def test_a_snapshot_from_before_areas_is_read_and_nothing_counts_as_relabelled(coco, snapshot_of):
    splits = {split: f"{split}.json" for split in ("train", "val", "test")}
    for number, name in enumerate(splits.values(), 1):
        root = coco({number: {}}, [box(number, [1, 2, 3, 4], area=7)], name)
    new = snapshot_of(root, "detection", format="coco", annotations=splits)
    old = snapshot_of(root, "detection", format="coco", annotations=splits)
    table = read_table(old)
    boxes = [[{k: v for k, v in b.items() if k != "area"} for b in bs] for bs in table["boxes"].to_pylist()]
    table = table.set_column(table.schema.get_field_index("boxes"), "boxes", [pa.array(boxes)])
    write_table(table, old.path)
    assert [b.area for row in read_rows(old) for b in row.boxes] == [None] * 3
    assert compare_snapshots(old, new).changed == 0


def test_each_bad_entry_has_its_place(coco, list_data):
    notes = [
        box(1, [1, 1, 2, 2]),
        box(2, [5, 5, -3, 2]),
        box(3, [5, 5, 0, 2]),
        box(4, [5, 5, 2]),
        box(5, [float("nan"), 5, 2, 2]),
        box(1, [1, 1, 2, 2], category=99),
        box(77, [1, 1, 2, 2]),
    ]
    images = {i: {} for i in range(1, 8)} | {6: {"file_name": "../x.png"}, 7: {"file_name": "no.png"}}
    listing = list_data(coco(images, notes), "detection", format="coco", annotations="a.json")
    assert [r.id for r in listing.records] == ["1.png"]
    assert {(f.where, f.kind, f.severity) for f in listing.findings} == {
        ("a.json:annotations[1]", "inverted_box", "quarantine"),
        ("a.json:annotations[2]", "empty_box", "quarantine"),
        ("a.json:annotations[3]", "bad_box", "quarantine"),
        ("a.json:annotations[4]", "bad_box", "quarantine"),
        ("a.json:annotations[5]", "unknown_label", "error"),
        ("a.json:annotations[6]", "unknown_image", "error"),
        ("a.json:images[5]", "outside_root", "error"),
        ("a.json:images[6]", "missing", "quarantine"),
    }


def test_images_listed_twice(coco, list_data):
    root = coco({1: {}, 2: {"file_name": "1.png"}, 3: {"id": 1}, 4: {"file_name": 7}}, [])
    listing = list_data(root, "detection", format="coco", annotations="a.json")
    assert [(f.where, f.kind) for f in listing.findings] == [
        ("a.json:images[2]", "duplicate_id"),
        ("a.json:images[3]", "bad_image"),
        ("a.json:images[1]", "duplicate_id"),
    ]


def test_an_annotation_id_used_twice(coco, list_data):
    root = coco({1: {}}, [box(1, [1, 1, 2, 2]), box(1, [1, 1, 2, 2], id=0), box(1, [3, 3, 2, 2], id=None)])
    listing = list_data(root, "detection", format="coco", annotations="a.json")
    assert [(f.where, f.kind, f.severity) for f in listing.findings] == [
        ("a.json:annotations[1]", "duplicate_id", "error")
    ]
    assert len(listing.records[0].boxes) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"a\.json:1:2.*not JSON|not JSON"),
        ("[]", "not COCO"),
        ('{"version": "5.0", "shapes": []}', "this is a LabelMe file"),
        ('[{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "score": 0.5}]', "these are predictions"),
        ('{"images": {"1": {}}, "annotations": [], "categories": []}', "a JSON dict under 'images'"),
        ('{"images": []}', "no list 'categories'"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', r"categories\[0\]"),
        ('{"images": [], "annotations": [], "categories": []}', "no image"),
        ("[" * 100_000, "can't be read"),
    ],
)
def test_files_that_are_no_coco(tmp_path, list_data, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=message):
        list_data(tmp_path, "detection", format="coco", annotations="a.json")


def test_images_beside_their_annotations(coco, list_data, tmp_path):
    """Roboflow writes `train/_annotations.coco.json` among the images; what `images` names comes first."""
    root = coco({1: {}, 2: {}}, [box(1, [1, 1, 2, 2])])
    (root / "train").mkdir()
    for name in ("a.json", "1.png", "2.png"):
        (root / name).rename(root / "train" / name)
    listing = list_data(root, "detection", format="coco", annotations="train/a.json", images=".")
    assert [record.path for record in listing.records] == ["train/1.png", "train/2.png"]
    (root / "2.png").touch()
    listing = list_data(root, "detection", format="coco", annotations="train/a.json", images=".")
    assert sorted(record.path for record in listing.records) == ["2.png", "train/1.png"]


@pytest.mark.parametrize(
    ("category", "reason"),
    [
        (0, "category 0 is not among the categories, which have the ids "),
        ("cat", "category_id 'cat' is a name, where an id is expected: it has "),
    ],
)
def test_categories_that_are_none(coco, list_data, category, reason):
    root = coco({1: {}}, [box(1, [1, 1, 2, 2], category)])
    file = root / "a.json"
    whole = json.loads(file.read_text())
    whole["categories"][0]["name"] = "cat"
    file.write_text(json.dumps(whole))
    (finding,) = list_data(root, "detection", format="coco", annotations="a.json").findings
    assert (finding.kind, finding.severity) == ("unknown_label", "error")
    assert finding.reason.startswith(reason)


def test_a_file_per_split_and_groups(coco, list_data):
    for i, split in enumerate(("train", "val", "test"), 1):
        root = coco({i: {"scene": f"s{i}"}}, [box(i, [1, 1, 2, 2])], name=f"{split}.json")
    files = {split: f"{split}.json" for split in ("train", "val", "test")}
    listing = list_data(root, "detection", format="coco", annotations=files, split={"group_by": "scene"})
    assert [(r.split, r.group) for r in listing.records] == [("train", "s1"), ("val", "s2"), ("test", "s3")]
    coco({1: {}}, [], name="val.json", categories=("cat", "bird"))
    with pytest.raises(DataError, match="different categories"):
        list_data(root, "detection", format="coco", annotations=files)


def random_segmentations(seed):
    random = np.random.default_rng(seed)
    pixels = np.asfortranarray((random.random((16, 24)) < 0.3).astype(np.uint8))
    compressed = judge.encode(pixels)
    compressed["counts"] = compressed["counts"].decode()
    flat = pixels.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    counts = np.diff(np.concatenate([[0], edges])).tolist()
    polygons = [(random.random(8) * 20).tolist(), (random.random(6) * 26 - 1).tolist()]
    return compressed, {"size": [16, 24], "counts": counts}, polygons


@pytest.mark.parametrize("seed", range(20))
def test_masks_are_those_of_pycocotools(seed):
    compressed, uncompressed, polygons = random_segmentations(seed)
    for segmentation in (compressed, uncompressed, polygons):
        assert segmentation_problem(segmentation, (24, 16)) is None
        if isinstance(segmentation, list):
            wanted = judge.decode(judge.merge(judge.frPyObjects(segmentation, 16, 24)))
        elif isinstance(segmentation["counts"], list):
            wanted = judge.decode(judge.frPyObjects(segmentation, 16, 24))
        else:
            wanted = judge.decode(segmentation)
        canvas = np.zeros((24, 16), np.int32)
        draw_runs(encode_segmentation(segmentation, (24, 16)), canvas, 1)
        assert np.array_equal(canvas.T, wanted)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "neither polygons nor RLE"),
        ([], "empty"),
        ([[1, 2, 3, 4]], "2 corners; three or more"),
        ([[1, 2, 3, 4, 5, 6, 7]], "7 numbers, which are no pairs"),
        ([[1, 2, 3, 4, 5, "6"]], "not a number: '6'"),
        ([1, 2, 3, 4, 5, 6], "one flat list"),
        ([[1, 2, 3, 4, 5, 6], {"x": 1}], r"has \{'x': 1\} where a polygon"),
        ([[1, 2, 3, 4, 5, 1e12]], "far outside"),
        ({"size": [16, 25], "counts": "0"}, "has size"),
        ({"size": [16, 24], "counts": [400]}, "cover 400 pixels"),
        ({"size": [16, 24], "counts": [-1, 385]}, "can't be read"),
        ({"size": [16, 24], "counts": "~~~"}, "can't be read"),
        ({"size": [16, 24], "counts": "oo"}, "can't be read"),
        ({"size": [16, 24], "counts": "P"}, "can't be read|cover"),
    ],
)
def test_segmentations_that_would_hurt_are_refused(segmentation, message):
    import re

    assert re.search(message, segmentation_problem(segmentation, (24, 16)) or "")


def test_semantic_masks_are_drawn_with_small_objects_on_top(coco, snapshot_of):
    large = [[2, 2, 20, 2, 20, 14, 2, 14]]
    small = [[5, 5, 10, 5, 10, 10, 5, 10]]
    notes = []
    for image in range(1, 13):
        notes += [
            box(image, [5, 5, 5, 5], 20, segmentation=small),
            box(image, [2, 2, 18, 12], 10, segmentation=large),
        ]
    root = coco({i: {} for i in range(1, 13)}, notes)
    snapshot = snapshot_of(root, "segmentation", format="coco", annotations="a.json", split={"seed": 8})
    assert snapshot.classes == ("background", "cat", "dog")
    row = read_rows(snapshot)[0]
    drawn = mask_files_of(snapshot, 255).read(row.mask, row.seen)
    wanted = np.zeros((16, 24), np.uint8)
    wanted[judge.decode(judge.frPyObjects(large, 16, 24))[..., 0] == 1] = 1
    wanted[judge.decode(judge.frPyObjects(small, 16, 24))[..., 0] == 1] = 2
    assert np.array_equal(drawn, wanted)
    assert sum(snapshot.class_counts[s]["dog"] for s in snapshot.class_counts) == 12


@pytest.mark.parametrize(("first", "become"), [("background", "become background"), ("sky", "do not count")])
def test_objects_that_the_class_list_leaves_out_are_counted(coco, list_data, first, become):
    square = [[2, 2, 20, 2, 20, 14, 2, 14]]
    notes = [box(1, [2, 2, 18, 12], category, segmentation=square) for category in (10, 20, 20)]
    root = coco({1: {}}, notes)
    listing = list_data(root, "segmentation", format="coco", annotations="a.json", classes=[first, "cat"])
    assert [(f.kind, f.severity, f.reason) for f in listing.findings] == [
        ("label_left_out", "warning", f"2 objects of 'dog' {become}: data.classes leaves it out")
    ]


def test_bad_segmentation_is_quarantined(coco, list_data):
    root = coco({1: {}, 2: {"width": 0}, 3: {}}, [box(1, [1, 1, 2, 2], segmentation=[[1, 2]])])
    listing = list_data(root, "segmentation", format="coco", annotations="a.json")
    assert [(f.where, f.kind) for f in listing.findings] == [
        ("a.json:annotations[0]", "bad_mask"),
        ("a.json:images[1]", "bad_image"),
    ]
    assert [r.mask for r in listing.records] == ["a.json#3"]


def test_an_entry_of_patients_is_the_group(coco, list_data, snapshot_of):
    root = coco({1: {"patient_id": 7}, 2: {"patient_id": 7}, 3: {}}, [])
    listing = list_data(root, "detection", format="coco", annotations="a.json")
    assert [record.group for record in listing.records] == ["7", "7", None]
    assert [finding.kind for finding in listing.findings] == ["group_column"]


def test_a_patient_in_two_annotation_files_is_a_leak(coco, snapshot_of):
    files = {}
    for number, split in enumerate(("train", "val", "test"), 1):
        patient = min(number, 2)
        notes = [box(number, [1, 1, 4, 4]), box(number, [2, 2, 4, 4], 20)]
        root = coco({number: {"patient": f"P{patient}"}}, notes, name=f"{split}.json")
        files[split] = f"{split}.json"
    with pytest.raises(DataError) as error:
        snapshot_of(root, "detection", format="coco", annotations=files)
    assert "group 'P2' is in val" in str(error.value)


def test_capitals_in_the_name_of_the_file(coco, list_data):
    square = {"segmentation": [[0, 0, 8, 0, 8, 8, 0, 8]], "area": 64}
    root = coco({1: {}}, [box(1, [0, 0, 8, 8], **square)], name="A.JSON")
    listing = list_data(root, "segmentation", format="coco", annotations="A.JSON")
    assert split_mask(listing.records[0].mask) == ("A.JSON", "1")
