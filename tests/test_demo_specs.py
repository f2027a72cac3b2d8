"""The committed specs on their real images, from the command line, for a few epochs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

ROOT = Path(__file__).parent.parent
OTSU = 0.863
"""Test mIoU of a plain Otsu threshold on the nuclei."""

pytestmark = pytest.mark.slow


def transferflow(folder: Path, *words: str) -> str:
    environment = os.environ | {"TRANSFERFLOW_HOME": str(folder / "home")}
    command = [str(Path(sys.executable).parent / "transferflow"), *words]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_spec(folder: Path, name: str, *changes: str) -> dict[str, dict[str, float]]:
    transferflow(folder, "datasets", "fetch", name, f"data/{name}")
    overrides = [word for change in (*changes, "registration.gate.minimum=0") for word in ("--set", change)]
    transferflow(folder, "run", str(ROOT / "specs" / f"{name}.yaml"), "--no-prefect", *overrides)
    (metrics,) = (folder / "home" / "artifacts" / "evaluate").glob("*/metrics.json")
    found: dict[str, dict[str, float]] = json.loads(metrics.read_text())["metrics"]
    return found


def coco_of(text: str) -> COCO:
    coco = COCO()
    coco.dataset = json.loads(text)
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def test_nuclei_beat_a_threshold_and_are_predicted_whole_and_in_tiles(tmp_path: Path) -> None:
    metrics = run_spec(tmp_path, "nuclei", "training.epochs=8")
    assert metrics["miou"]["value"] > OTSU
    tiles = [tmp_path / f"data/nuclei/images/test/{top:03}_384.png" for top in range(0, 512, 128)]
    strip = np.concatenate([np.array(Image.open(tile)) for tile in tiles])
    Image.fromarray(strip).save(tmp_path / "strip.png")
    masks = []
    for words in ((), ("--tile", "128")):
        coco = coco_of(transferflow(tmp_path, "predict", "nuclei", "strip.png", "--json", *words))
        nucleus = coco.getCatIds(["nucleus"])
        (annotation,) = coco.loadAnns(coco.getAnnIds(catIds=nucleus))
        masks.append(coco.annToMask(annotation))
        assert masks[-1].shape == (512, 128)
    truth = np.concatenate(
        [np.array(Image.open(str(tile).replace("/images/", "/masks/"))) > 0 for tile in tiles]
    )
    tiled = masks[1] > 0
    assert (tiled & truth).sum() / (tiled | truth).sum() > 0.7
    written = sorted(path.name for path in (tmp_path / "predictions").iterdir())
    assert [name.rsplit("-", 1)[1] for name in written] == ["mask.png", "overlay.png"]
    assert all(name.startswith("strip-") for name in written)


def test_tree_crowns_train_and_are_predicted_as_coco_boxes(tmp_path: Path) -> None:
    metrics = run_spec(tmp_path, "tree-crowns", "training.epochs=1", "evaluation.bootstrap=20")
    assert metrics["map50"]["low"] <= metrics["map50"]["value"] <= metrics["map50"]["high"]
    image = next((tmp_path / "data/tree-crowns/images").iterdir())
    coco = coco_of(transferflow(tmp_path, "predict", "tree-crowns", str(image), "--json", "--min-score", "0"))
    boxes = coco.loadAnns(coco.getAnnIds())
    assert boxes
    assert all(box["bbox"][2] > 0 and box["bbox"][3] > 0 and 0 <= box["score"] <= 1 for box in boxes)
    assert "label,score" in transferflow(tmp_path, "predict", "tree-crowns", str(image), "--csv")
