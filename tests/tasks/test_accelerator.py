"""Every task from plan to prediction on a second device: nothing may stay behind on the first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parent / "accelerator.py"


def accelerated(folder: Path, *words: str) -> str:
    environment = os.environ | {"TRANSFERFLOW_HOME": str(folder / "home")}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture
def train_there(tmp_path):
    """Train, measure and explain a spec on the stand-in."""

    def train(spec):
        document = spec.model_dump(mode="json", exclude_unset=True)
        document["training"] |= {"device": "auto", "epochs": 1, "ema": 0.9}
        (tmp_path / "there.yaml").write_text(yaml.safe_dump(document | {"name": "there"}))
        accelerated(tmp_path, "run", "there.yaml", "--no-prefect")
        (history,) = (tmp_path / "home" / "artifacts" / "train").glob("*/history.json")
        assert json.loads(history.read_text())["device"] == "pretend"

    return train


def test_classification(train_there, build_spec):
    train_there(build_spec(augmentation={"preset": "similar_domain", "mixup": 0.2}))


@pytest.mark.parametrize("kind", ["fcos", "retinanet"])
def test_detection(train_there, crowns, kind):
    train_there(crowns.model_copy(update={"head": crowns.head.model_copy(update={"kind": kind})}))


def test_detection_in_two_stages_and_in_tiles(train_there, crowns, tmp_path):
    head = crowns.head.model_copy(update={"kind": "faster_rcnn"})
    train_there(crowns.model_copy(update={"head": head}))
    found = json.loads(accelerated(tmp_path, "predict", "there/1", "crowns/test", "--json", "--tile", "48"))
    assert len(found["images"]) == 3


def test_segmentation_in_tiles(train_there, cells, tmp_path):
    train_there(cells)
    found = json.loads(
        accelerated(tmp_path, "predict", "there", "cells/images/test", "--json", "--tile", "48")
    )
    assert len(found["images"]) == 3


def test_the_stand_in_refuses_to_mix_devices():
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        "import accelerator, torch\n"
        "accelerator.install()\n"
        "with accelerator.Accelerator():\n"
        "    there = torch.nn.Linear(3, 4, device='pretend')\n"
        "    there(torch.ones(2, 3).to('pretend')).sum().backward()\n"
        "    assert there.weight.grad.device.type == 'pretend'\n"
        "    there(torch.ones(2, 3))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        done.stderr.strip().splitlines()[-1].startswith("RuntimeError: tensors of two devices in aten.addmm")
    )
