from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from transferflow.data.listing import load_listing
from transferflow.data.snapshot.inspection import check_listing


@pytest.fixture
def findings_of(data_section, truth_of):
    def run(root, task="classification", **fields):
        options = {name: fields.pop(name) for name in ("multilabel", "ignore_index") if name in fields}
        data, chosen = data_section(root=str(root), **fields), truth_of(task, **options)
        return check_listing(data, chosen, load_listing(data, chosen)).findings

    return run


def of_kind(findings, kind):
    return [f for f in findings if f.kind == kind]


@pytest.fixture
def even(tmp_path, paint):
    """Split folders with two classes of six images each."""
    seed = 0
    for split in ("train", "val", "test"):
        for label in ("cat", "dog"):
            for i in range(6):
                seed += 1
                paint(tmp_path / split / label / f"{i}.png", seed=seed)
    return tmp_path


def test_nothing_is_wrong(even, findings_of):
    assert findings_of(even, format="image_folder") == []


def test_unknown_and_missing_classes(even, findings_of):
    findings = findings_of(even, format="image_folder", classes=["cat", "bird"])
    assert [(f.kind, f.severity) for f in findings] == [
        ("class_missing", "error"),
        ("unknown_label", "error"),
        ("class_missing", "warning"),
        ("class_missing", "warning"),
    ]
    assert (
        "'dog' is not among the classes (18 times): cat, bird" in of_kind(findings, "unknown_label")[0].reason
    )
    assert {f.where for f in of_kind(findings, "class_missing")} == {
        "data.split.train",
        "data.split.val",
        "data.split.test",
    }


def test_a_class_without_test_images_is_a_warning(even, findings_of):
    for file in (even / "test" / "dog").iterdir():
        file.unlink()
    findings = findings_of(even, format="image_folder")
    assert [(f.kind, f.severity, f.reason) for f in findings] == [
        ("class_missing", "warning", "class 'dog' has no image in test")
    ]


def test_a_class_with_few_images_is_a_warning(even, findings_of):
    (even / "val" / "cat" / "0.png").unlink()
    (even / "val" / "cat" / "1.png").unlink()
    findings = findings_of(even, format="image_folder")
    assert [(f.kind, f.severity, f.where) for f in findings] == [("class_small", "warning", "data.split.val")]
    assert "'cat' (4)" in findings[0].reason


def test_one_class(tmp_path, paint, findings_of):
    for i in range(60):
        paint(tmp_path / "cat" / f"{i}.png", seed=i)
    assert of_kind(findings_of(tmp_path, format="image_folder"), "one_class")[0].severity == "error"


def test_nothing_that_can_be_used(even, findings_of):
    for file in even.rglob("*.png"):
        file.write_bytes(b"")
    findings = findings_of(even, format="image_folder", max_bad_fraction=1.0)
    assert [f.kind for f in findings if f.severity == "error"] == ["no_images"]
    assert len(of_kind(findings, "empty_file")) == 36


def test_labels_that_differ_in_case(tmp_path, paint, findings_of):
    for i in range(60):
        paint(tmp_path / ("Cat", "cat")[i % 2] / f"{i}.png", seed=i)
    found = of_kind(findings_of(tmp_path, format="image_folder"), "similar_labels")
    assert "'Cat' (30), 'cat' (30)" in found[0].reason


@pytest.mark.parametrize(
    ("one", "other", "severity"),
    [
        ("0", "0.0", "error"),
        ("-1", "-1.00", "error"),
        ("\uff17", "7", "warning"),
        ("7", "007", "warning"),
        ("1.5", "15", None),
    ],
)
def test_labels_that_are_one_number(tmp_path, paint, findings_of, one, other, severity):
    for i in range(40):
        paint(tmp_path / f"{i}.png", seed=i)
    rows = "".join(f"{i}.png,{(one, other, 'x')[i % 3]}\n" for i in range(40))
    (tmp_path / "t.csv").write_text(f"path,label\n{rows}")
    found = of_kind(findings_of(tmp_path, format="csv", file="t.csv"), "similar_labels")
    assert [f.severity for f in found] == ([severity] if severity else [])
    if severity == "error":
        assert f"labels that are one number: {one!r} (14), {other!r} (13)" in found[0].reason


def test_a_class_that_reads_like_a_missing_value_is_said(tmp_path, paint, findings_of):
    for i in range(40):
        paint(tmp_path / f"{i}.png", seed=i)
    rows = "".join(f"{i}.png,{('nan', 'none')[i % 2]}\n" for i in range(40))
    (tmp_path / "t.csv").write_text(f"path,label\n{rows}")
    (found,) = of_kind(findings_of(tmp_path, format="csv", file="t.csv"), "missing_word")
    assert found.reason == "the label 'nan' (20 times) is a class, and reads like a missing value"


def test_a_missing_split_is_cut_and_said(even, findings_of):
    (even / "test").rename(even / ".test")
    findings = findings_of(even, format="image_folder")
    assert of_kind(findings, "split_cut")[0].reason == (
        "no folder, list or column says test: it is cut from val by the stable hash"
    )


def test_small_sets_get_a_better_seed(tmp_path, paint, findings_of):
    for i in range(9):
        paint(tmp_path / "ab"[i % 2] / f"{i}.png", seed=i)
    tried = (findings_of(tmp_path, format="image_folder", split={"seed": seed}) for seed in range(20))
    found = next(empty for findings in tried if (empty := of_kind(findings, "empty_split")))
    seed = int(found[0].reason.rsplit("seed: ", 1)[1].split()[0])
    again = findings_of(tmp_path, format="image_folder", split={"seed": seed})
    assert not of_kind(again, "empty_split")


def test_copies(even, findings_of):
    original = even / "train" / "cat" / "0.png"
    (even / "train" / "cat" / "copy.png").write_bytes(original.read_bytes())
    (even / "train" / "dog" / "copy.png").write_bytes(original.read_bytes())
    (even / "test" / "cat" / "copy.png").write_bytes(original.read_bytes())
    findings = findings_of(even, format="image_folder")
    assert all(f.severity == "warning" for f in findings)
    assert len(of_kind(findings, "copies")) == 1
    assert "3 images are exact copies" in of_kind(findings, "copies")[0].reason
    assert len(of_kind(findings, "copy_moved")) >= 1
    assert "train/dog/copy.png" in of_kind(findings, "conflicting_labels")[0].reason


def write_table(root, rows):
    (root / "labels.csv").write_text("path,label,group,split\n" + "\n".join(rows))


def test_groups_across_declared_splits_are_errors(even, findings_of):
    files = sorted(p.relative_to(even).as_posix() for p in even.rglob("*.png"))
    rows = [f"{f},{f.split('/')[1]},p{i // 4},{f.split('/')[0]}" for i, f in enumerate(files)]
    write_table(even, rows)
    assert findings_of(even, format="csv", file="labels.csv") == []
    rows[0] = rows[0].replace(",p0,", ",p8,")
    write_table(even, rows)
    found = findings_of(even, format="csv", file="labels.csv")
    assert [(f.kind, f.severity) for f in found] == [("group_leak", "error")]
    assert "group 'p8'" in found[0].reason


def test_copies_across_splits_of_grouped_data_are_errors(even, findings_of):
    (even / "test" / "cat" / "0.png").write_bytes((even / "train" / "cat" / "0.png").read_bytes())
    files = sorted(p.relative_to(even).as_posix() for p in even.rglob("*.png"))
    write_table(even, [f"{f},{f.split('/')[1]},{f},{f.split('/')[0]}" for f in files])
    found = findings_of(even, format="csv", file="labels.csv")
    assert [(f.kind, f.severity) for f in found] == [("copy_leak", "error"), ("copies", "warning")]


@pytest.fixture
def alike(even):
    """A photo-like image in train, and a recompressed and resized copy of it in test."""
    y, x = np.mgrid[0:200, 0:300]
    waves = 127 + 60 * np.sin(x / 23 + y / 41) + 60 * np.cos(y / 17 - x / 90)
    photo = Image.fromarray(np.clip(np.stack([waves, waves[::-1], waves], -1), 0, 255).astype(np.uint8))
    photo.save(even / "train" / "cat" / "photo.png")
    photo.resize((150, 100)).save(even / "test" / "cat" / "small.jpg", quality=60)
    return even


@pytest.mark.parametrize(
    ("policy", "severity"),
    [("auto", "warning"), ("error", "error"), ("warning", "warning"), ("ignore", None)],
)
def test_near_duplicates_across_splits(alike, findings_of, policy, severity):
    found = of_kind(findings_of(alike, format="image_folder", near_duplicates=policy), "near_duplicate")
    assert [f.severity for f in found] == ([severity] if severity else [])
    if severity:
        assert "test/cat/small.jpg in test looks like train/cat/photo.png in train" in found[0].reason


def test_near_duplicates_across_groups_are_errors(alike, findings_of):
    files = sorted(p.relative_to(alike).as_posix() for p in alike.rglob("*.*") if p.suffix != ".csv")
    write_table(alike, [f"{f},{f.split('/')[1]},{f},{f.split('/')[0]}" for f in files])
    found = of_kind(findings_of(alike, format="csv", file="labels.csv"), "near_duplicate")
    assert [f.severity for f in found] == ["error"]


def test_multilabel_may_have_no_label(even, findings_of):
    files = sorted(p.relative_to(even).as_posix() for p in even.rglob("*.png"))
    write_table(even, [f"{f},{'a|b' if i % 2 else ''},,{f.split('/')[0]}" for i, f in enumerate(files)])
    assert findings_of(even, format="csv", file="labels.csv", multilabel=True) == []


@pytest.fixture
def boxes(tmp_path, paint):
    """COCO files of six images per split, the named splits with a box in each image."""

    def write(labelled, **note):
        box = {"category_id": 1, "bbox": [2, 2, 9, 9], "iscrowd": 0, **note}
        for number, split in enumerate(("train", "val", "test")):
            images = [{"id": i, "file_name": f"{split}/{i}.png"} for i in range(6)]
            for i in range(6):
                paint(tmp_path / split / f"{i}.png", seed=10 * number + i)
            notes = [{"id": i, "image_id": i, **box} for i in range(6)] if split in labelled else []
            whole = {"images": images, "annotations": notes, "categories": [{"id": 1, "name": "cell"}]}
            (tmp_path / f"{split}.json").write_text(json.dumps(whole))
        return tmp_path

    return write


COCO = {"format": "coco", "annotations": {split: f"{split}.json" for split in ("train", "val", "test")}}


@pytest.mark.parametrize(("empty", "severity"), [("train", "error"), ("val", "error"), ("test", "warning")])
def test_a_split_without_any_box(boxes, findings_of, empty, severity):
    root = boxes({"train", "val", "test"} - {empty})
    (found,) = findings_of(root, "detection", **COCO)
    assert (found.kind, found.severity, found.where) == ("no_labels", severity, f"data.split.{empty}")
    assert f"no image in {empty} has a box of a class" in found.reason


def test_crowd_regions_are_no_boxes_to_learn_from(boxes, findings_of):
    found = findings_of(boxes({"train", "val", "test"}, iscrowd=1), "detection", **COCO)
    assert [(f.kind, f.severity) for f in found] == [
        ("no_labels", "error"),
        ("no_labels", "error"),
        ("no_labels", "warning"),
    ]


def test_few_boxes_are_called_boxes(boxes, findings_of):
    root = boxes({"train", "val", "test"})
    whole = json.loads((root / "val.json").read_text())
    whole["annotations"] = whole["annotations"][:2]
    (root / "val.json").write_text(json.dumps(whole))
    (found,) = findings_of(root, "detection", **COCO)
    assert (found.kind, found.severity) == ("class_small", "warning")
    assert found.reason.startswith("fewer than 5 boxes in val: 'cell' (2)")


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_a_class_that_a_split_lacks_is_a_warning(boxes, findings_of, task):
    polygon = [[2, 2, 9, 2, 9, 9]]
    root = boxes({"train", "val", "test"}, segmentation=polygon)
    for split in ("train", "val", "test"):
        whole = json.loads((root / f"{split}.json").read_text())
        whole["categories"].append({"id": 2, "name": "crack"})
        for image in whole["images"]:
            image |= {"width": 24, "height": 16}
        (root / f"{split}.json").write_text(json.dumps(whole))
    noun = {"detection": "box", "segmentation": "mask"}[task]
    found = findings_of(root, task, **COCO)
    assert {(f.kind, f.severity) for f in found} == {("class_missing", "warning")}
    assert [f.reason for f in found] == [
        f"class 'crack' has no {noun} in {split}" for split in ("train", "val", "test")
    ]


def test_masks_without_a_pixel_of_a_class(tmp_path, paint, findings_of):
    for number, split in enumerate(("train", "val", "test")):
        for i in range(6):
            paint(tmp_path / "images" / split / f"{i}.png", seed=10 * number + i)
            mask = tmp_path / "masks" / split / f"{i}.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 24), 255 if split == "val" else i % 2, np.uint8)).save(mask)
    fields = {"classes": ["sky", "tree"], "ignore_index": 255}
    found = findings_of(tmp_path, "segmentation", format="mask_folder", **fields)
    errors = [f for f in found if f.severity == "error"]
    assert [(f.kind, f.where) for f in errors] == [("no_labels", "data.split.val")]
    assert "no mask in val has a pixel of a class: no epoch can be told" in errors[0].reason


def test_images_of_no_split_beside_declared_ones_are_counted(even, paint, findings_of):
    rows = [
        f"{f.relative_to(even).as_posix()},{f.parent.name},{f.parent.parent.name}"
        for f in even.rglob("*.png")
    ]
    for i in range(8):
        paint(even / f"{i}.png", seed=100 + i)
        rows.append(f"{i}.png,{'cat' if i % 2 else 'dog'},")
    (even / "t.csv").write_text("path,label,split\n" + "\n".join(rows))
    (found,) = of_kind(findings_of(even, format="csv", file="t.csv"), "undeclared_split")
    assert (found.severity, found.where) == ("warning", "t.csv:38")
    start = "nothing says the split of 8 of 44 images, though it is said of the others: the stable hash puts "
    assert found.reason.startswith(start)
    shares = [int(part.split()[0]) for part in found.reason.removeprefix(start).split(", ")]
    assert sum(shares) == 8


def test_where_all_is_declared_train_nothing_becomes_test(tmp_path, paint, findings_of):
    for i in range(30):
        paint(tmp_path / f"{i}.png", seed=i)
    rows = "".join(f"{i}.png,{'cat' if i % 2 else 'dog'},train\n" for i in range(30))
    (tmp_path / "t.csv").write_text(f"path,label,split\n{rows}")
    found = of_kind(findings_of(tmp_path, format="csv", file="t.csv"), "empty_split")
    assert [f.where for f in found] == ["data.split.val", "data.split.test"]
    assert (
        "say the split of every image (train 30), and a declared image goes to no other one"
        in found[0].reason
    )


def test_a_split_whose_images_are_copies_of_another_is_named(tmp_path, paint, findings_of):
    for i in range(6):
        for label in ("cat", "dog"):
            paint(tmp_path / "train" / label / f"{i}.png", seed=i + 10 * (label == "cat"))
            paint(tmp_path / "test" / label / f"{i}.png", seed=i + 10 * (label == "cat"))
    (tmp_path / "val").symlink_to(tmp_path / "train")
    (found,) = [
        f
        for f in of_kind(findings_of(tmp_path, format="image_folder"), "empty_split")
        if f.where.endswith("train")
    ]
    assert "all 12 that folders, lists or columns put there are copies of images in test" in found.reason


@pytest.mark.parametrize(("numbers", "kinds"), [("11", {"one_number"}), ("12", set())])
def test_one_number_alone_is_nothing_to_learn(tmp_path, paint, findings_of, numbers, kinds):
    lines = ["path,label"]
    for number in range(20):
        paint(tmp_path / f"{number}.png", number)
        lines.append(f"{number}.png,{numbers[number % 2]}.0")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    found = findings_of(tmp_path, "regression", format="csv", file="t.csv")
    assert {finding.kind for finding in found if finding.severity == "error"} == kinds
