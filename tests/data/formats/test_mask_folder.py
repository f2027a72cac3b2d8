from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from transferflow.data.formats.masks import mask_files_of
from transferflow.data.snapshot.manifest import read_rows
from transferflow.errors import DataError

CLASSES = ["sky", "tree"]
VALUES = np.zeros((16, 24), np.uint8)
VALUES[4:9, 3:20] = 1
VALUES[0, 0] = 255


def write_mask(path, values=VALUES, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if mode == "P":
        image = image.convert("P") if image.mode != "P" else image
        image = Image.fromarray(values, "P")
        image.putpalette([7, 7, 7, 200, 0, 0] + [0, 0, 0] * 254)
    image.save(path)


@pytest.fixture
def masks(tmp_path, paint):
    def write(count=12, mode="L", values=VALUES):
        for i in range(count):
            paint(tmp_path / "images" / f"{i}.jpg", seed=i)
            write_mask(tmp_path / "masks" / f"{i}.png", values, mode)
        return tmp_path

    return write


@pytest.mark.parametrize("mode", ["L", "P"])
def test_index_and_palette_masks(masks, snapshot_of, mode):
    snapshot = snapshot_of(masks(mode=mode), "segmentation", format="mask_folder", classes=CLASSES)
    row = read_rows(snapshot)[0]
    assert np.array_equal(mask_files_of(snapshot, 255).read(row.mask, row.seen), VALUES)
    assert sum(snapshot.class_counts[split]["tree"] for split in snapshot.class_counts) == 12


def test_colour_masks(masks, snapshot_of):
    colours = np.zeros((16, 24, 3), np.uint8)
    colours[4:9, 3:20] = (200, 0, 10)
    snapshot = snapshot_of(
        masks(values=colours),
        "segmentation",
        format="mask_folder",
        encoding="rgb",
        colours={"sky": [0, 0, 0], "tree": [200, 0, 10]},
    )
    row = read_rows(snapshot)[0]
    wanted = np.where(VALUES == 255, 0, VALUES)
    assert np.array_equal(mask_files_of(snapshot, 255).read(row.mask, row.seen), wanted)


def test_unknown_values_are_errors(masks, snapshot_of):
    values = VALUES.copy()
    values[1, 1] = 7
    allowed = rf"allowed: 0 to {len(CLASSES) - 1} for the classes, 255 for pixels that do not count"
    with pytest.raises(DataError, match=rf"value 7 is in 12 masks.*{allowed}"):
        snapshot_of(masks(values=values), "segmentation", format="mask_folder", classes=CLASSES)


def test_unknown_colours_are_errors(masks, snapshot_of):
    colours = np.zeros((16, 24, 3), np.uint8)
    colours[0, 0] = (1, 2, 3)
    with pytest.raises(DataError, match=r"colour \[1, 2, 3\] is in 12 masks"):
        snapshot_of(
            masks(values=colours),
            "segmentation",
            format="mask_folder",
            encoding="rgb",
            colours={"sky": [0, 0, 0], "tree": [9, 9, 9]},
        )


def test_noise_in_masks_is_summed_up(masks, snapshot_of):
    noise = np.arange(16 * 24, dtype=np.uint32).reshape(16, 24).astype(np.uint8)
    with pytest.raises(DataError, match="the data set has 21 errors"):
        snapshot_of(masks(values=noise), "segmentation", format="mask_folder", classes=CLASSES)


def test_values_that_number_objects_are_named(masks, snapshot_of):
    objects = np.repeat(np.arange(8, dtype=np.uint8), 48).reshape(16, 24)
    with pytest.raises(DataError, match="the values 3 to 7 follow each other: do they number objects"):
        snapshot_of(masks(values=objects), "segmentation", format="mask_folder", classes=["a", "b", "c"])


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_a_mask_is_no_jpeg_whatever_its_name(masks, snapshot_of, ending):
    root = masks()
    for mask in (root / "masks").iterdir():
        mask.unlink()
        Image.fromarray(VALUES).save(mask.with_suffix(ending), "JPEG", quality=95)  # no value is none here
    with pytest.raises(DataError, match="a JPEG, which changes the values of pixels"):
        snapshot_of(root, "segmentation", format="mask_folder", classes=CLASSES)


def test_masks_that_are_no_images_of_indices_say_what_they_are(masks, snapshot_of, list_data):
    root = masks()
    for mask in (root / "masks").iterdir():
        Image.fromarray(VALUES.astype(np.float32)).save(mask.with_suffix(".tif"))
        mask.unlink()
    with pytest.raises(DataError, match="the mask holds numbers with fractions"):
        snapshot_of(root, "segmentation", format="mask_folder", classes=CLASSES)
    for mask in (root / "masks").iterdir():
        mask.rename(mask.with_suffix(".npy"))
    with pytest.raises(DataError, match=r"0 masks in .*; other files: \d+ \.npy"):
        list_data(root, "segmentation", format="mask_folder", classes=CLASSES)


def test_masks_that_do_not_fit_are_quarantined(masks, snapshot_of):
    root = masks(40)
    write_mask(root / "masks" / "0.png", VALUES[:8])
    (root / "masks" / "1.png").write_bytes(b"none")
    write_mask(root / "masks" / "2.png", np.zeros((16, 24, 3), np.uint8))
    (root / "masks" / "3.png").unlink()
    snapshot = snapshot_of(root, "segmentation", format="mask_folder", classes=CLASSES, max_bad_fraction=0.2)
    assert snapshot.quarantined == 4
    table = (snapshot.path / "quarantine.csv").read_text()
    for text in ("size_mismatch", "24 x 16 pixels, its mask 24 x 8", "bad_mask", "RGB image", "no_mask"):
        assert text in table


def test_pairing(masks, paint, list_data):
    root = masks(1)
    paint(root / "images" / "train" / "a.png")
    write_mask(root / "masks" / "train" / "a_mask.png")
    paint(root / "images" / "b.png")
    paint(root / "images" / "b.jpg")
    write_mask(root / "masks" / "b.png")
    paint(root / "images" / "c.png")
    write_mask(root / "masks" / "c.png")
    write_mask(root / "masks" / "c.tif")
    write_mask(root / "masks" / "lone.png")
    listing = list_data(root, "segmentation", format="mask_folder", classes=CLASSES)
    assert {r.id: (r.mask, r.split) for r in listing.records} == {
        "images/0.jpg": ("masks/0.png", None),
        "images/b.jpg": ("masks/b.png", None),
        "images/train/a.png": ("masks/train/a_mask.png", "train"),
    }
    assert [(f.kind, f.where) for f in listing.findings] == [
        ("shared_annotation", "images/b.png"),
        ("ambiguous", "images/c.png"),
        ("lone_mask", "masks/lone.png"),
    ]


@pytest.mark.parametrize(("images", "severity"), [(99, "warning"), (90, "error")])
def test_masks_without_images_above_one_percent_are_an_error(tmp_path, list_data, images, severity):
    for folder, count in (("images", images), ("masks", 100)):
        (tmp_path / folder).mkdir()
        for i in range(count):
            (tmp_path / folder / f"{i:03}.png").touch()
    listing = list_data(tmp_path, "segmentation", format="mask_folder", classes=CLASSES)
    assert [(f.kind, f.severity, f.where) for f in listing.findings] == [
        ("lone_mask", severity, f"masks/{images:03}.png")
    ]
    assert f"{100 - images} of 100 masks have no image" in listing.findings[0].reason


@pytest.mark.parametrize(
    ("images", "masks", "files", "expected"),
    [
        ("all", "all", ["all/a.tif", "all/a_mask.tif", "all/b.tif", "all/b_mask.tif"], "all/{}_mask.tif"),
        (".", ".", ["p/a.tif", "p/a_mask.tif", "p/b.tif", "p/b_mask.tif"], "p/{}_mask.tif"),
        ("d", "d/masks", ["d/a.tif", "d/masks/a.tif", "d/b.tif", "d/masks/b.tif"], "d/masks/{}.tif"),
        (".", "masks", ["a.tif", "masks/a.tif", "b.tif", "masks/b.tif"], "masks/{}.tif"),
        ("raw", ".", ["raw/a.tif", "a.tif", "raw/b.tif", "b.tif"], "{}.tif"),
    ],
)
def test_one_folder_or_one_inside_the_other(tmp_path, list_data, images, masks, files, expected):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    listing = list_data(
        tmp_path, "segmentation", format="mask_folder", classes=CLASSES, images=images, masks=masks
    )
    assert [r.mask for r in listing.records] == [expected.format(name) for name in "ab"]
    assert [f.kind for f in listing.findings] == (["mixed_folder"] if images == masks else [])


def test_images_and_masks_of_the_same_name_in_two_folders(tmp_path, list_data):
    for file in ("images/a/1.png", "images/b/1.png", "images/c/2.png", "masks/b/1.png", "masks/2.png"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    listing = list_data(tmp_path, "segmentation", format="mask_folder", classes=CLASSES)
    assert {r.id: r.mask for r in listing.records} == {
        "images/b/1.png": "masks/b/1.png",
        "images/c/2.png": "masks/2.png",
    }
    assert [(f.kind, f.where) for f in listing.findings] == [("no_mask", "images/a/1.png")]


def test_a_name_in_the_folder_and_below_it(tmp_path, list_data):
    names = ("1.png", "a/1.png")
    for file in [f"{folder}/{name}" for folder in ("images", "masks") for name in names]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    listing = list_data(tmp_path, "segmentation", format="mask_folder", classes=CLASSES)
    assert {r.id: r.mask for r in listing.records} == {f"images/{n}": f"masks/{n}" for n in names}
    assert not listing.findings


def test_classes_are_needed(masks, list_data):
    with pytest.raises(DataError, match="index masks need `classes`"):
        list_data(masks(1), "segmentation", format="mask_folder")
