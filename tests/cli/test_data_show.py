import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from transferflow.cli.main import main

BACKBONE = {"source": "timm", "name": "test_resnet", "weights": "none"}
IMAGE = re.compile(r'<img src="data:image/(?:png|jpeg);base64,([^"]+)" width="(\d+)" height="(\d+)"')


def write_spec(folder: Path, **sections) -> Path:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({"name": "shown", "backbone": BACKBONE, **sections}))
    return path


def show(spec: Path, *options: str) -> tuple[int, str]:
    sheet = spec.with_name("sheet.html")
    code = main(
        ["data", "show", str(spec), "-o", str(sheet), "--home", str(spec.with_name("home")), *options]
    )
    return code, sheet.read_text() if sheet.exists() else ""


def pictures(page: str) -> list[np.ndarray]:
    found = []
    for data, width, height in IMAGE.findall(page):
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        assert image.size == (int(width), int(height))
        found.append(np.asarray(image.convert("RGB")))
    return found


def test_classification(colour_folder, tmp_path):
    data = {"format": "image_folder", "root": str(colour_folder), "image_size": 32}
    spec = write_spec(tmp_path, task={"kind": "classification"}, data=data)
    code, page = show(spec, "--images", "4", "--epochs", "2")
    assert code == 0
    assert len(pictures(page)) == 4 * 3
    for part in ("shown", "HorizontalFlip (50%)", "32 x 32", "epoch 2", "green"):
        assert part in page
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)


def test_nothing_is_repeated_where_nothing_varies(colour_folder, tmp_path):
    data = {"format": "image_folder", "root": str(colour_folder), "image_size": 32}
    spec = write_spec(tmp_path, task={"kind": "classification"}, data=data, augmentation={"preset": "none"})
    code, page = show(spec, "--images", "500")
    assert code == 0
    counted = re.search(r"training images</dt><dd>(\d+)", page)
    assert len(pictures(page)) == int(counted[1])


@pytest.fixture
def spots(tmp_path) -> Path:
    """Black images with one white spot each, as masks and as YOLO boxes."""
    root = tmp_path / "spots"
    for folder in ("images", "masks", "labels"):
        (root / folder).mkdir(parents=True)
    (root / "data.yaml").write_text("names: [spot]\n")
    for number in range(12):
        image = np.zeros((64, 64), np.uint8)
        image[20:40, 10 + number : 30 + number] = 255
        Image.fromarray(image).save(root / "images" / f"{number}.png")
        Image.fromarray(image // 255).save(root / "masks" / f"{number}.png")
        (root / "labels" / f"{number}.txt").write_text(
            f"0 {(20 + number) / 64} {30 / 64} {20 / 64} {20 / 64}\n"
        )
    return root


SPLIT = {"train": 0.6, "val": 0.2, "test": 0.2}


def test_segmentation_tints_the_masks(spots, tmp_path):
    data = {
        "format": "mask_folder",
        "root": str(spots),
        "classes": ["background", "spot"],
        "image_size": 64,
        "split": SPLIT,
    }
    head = {"kind": "lite"}
    freeze = {"policy": "none"}
    spec = write_spec(
        tmp_path,
        task={"kind": "segmentation"},
        data=data,
        head=head,
        freeze=freeze,
        augmentation={"transforms": [{"name": "VerticalFlip", "probability": 1.0}]},
    )
    code, page = show(spec, "--images", "3")
    assert code == 0
    found = pictures(page)
    assert len(found) == 3 * 4
    for picture in found:
        spot = picture[..., 0] > 100
        assert spot.any()
        assert (picture[spot].max(1) - picture[spot].min(1)).min() > 50  # no longer white


def test_detection_draws_the_boxes(spots, tmp_path):
    data = {"format": "yolo", "root": str(spots), "image_size": 64, "split": SPLIT}
    head = {"kind": "retinanet"}
    spec = write_spec(
        tmp_path, task={"kind": "detection"}, data=data, head=head, augmentation={"preset": "none"}
    )
    code, page = show(spec, "--images", "2")
    assert code == 0
    for picture in pictures(page):
        coloured = picture.max(2).astype(int) - picture.min(2) > 100
        rows, columns = np.flatnonzero(coloured.any(1)), np.flatnonzero(coloured.any(0))
        assert (rows[0], rows[-1]) == (100, 199)
        assert columns[-1] - columns[0] == 99


def test_a_bad_data_set_is_a_message(tmp_path, capsys):
    data = {"format": "image_folder", "root": str(tmp_path / "none"), "image_size": 32}
    code, page = show(write_spec(tmp_path, task={"kind": "classification"}, data=data))
    assert (code, page) == (1, "")
    assert "does not exist" in capsys.readouterr().err
