"""The scripts that measure us beside others run, on very little."""

from argparse import Namespace
from pathlib import Path

import gpu
import peer_loops
import peers
import pytest
from cache import draw


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    draw(root, 8, 64)
    return root


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_case_of_the_gpu_script(images, monkeypatch, tmp_path, task):
    backbone = {"source": "timm", "name": "test_resnet.r160_in1k", "weights": "none"}
    case = {"backbone": backbone, "task": {"kind": task}, "freeze": {"policy": "none"}}
    if task == "segmentation":
        case |= {"data": gpu.COCO, "head": {"kind": "lite"}}
    monkeypatch.setitem(gpu.CASES, "tiny", case)
    sizes = gpu.Sizes(8, 64, dict.fromkeys(gpu.BATCHES, 4), 1, "cpu")
    row = gpu.measure("tiny", images, tmp_path / "home", sizes, tmp_path / "profiles")
    assert row["images_per_second"] > 0
    assert row["share"] == pytest.approx(row["images_per_second"] / row["bare"], abs=1e-3)
    assert "aten::" in (tmp_path / "profiles" / "tiny.txt").read_text()


def asked(root):
    return Namespace(epochs=2, long_epochs=1, size=64, bf16=False, root=root, repeats=1, python=None)


def test_a_peer_trains_what_we_train(images, tmp_path):
    spec = peers.build_spec("frozen", asked(images), images)
    told = peers.write_case("frozen", asked(images), spec, tmp_path)
    case = peer_loops.Case(**peers.json.loads(Path(told).read_text()))
    model = peer_loops.build_model(case)
    ours = peers.build_parts(spec, peers.NAMES, pretrained=True).model.backbone.model.state_dict()
    assert all((value == ours[name]).all() for name, value in model[0].state_dict().items())
    assert 0 <= peer_loops.run_plain(case) <= 1


@pytest.mark.parametrize(
    ("case", "run", "tells"),
    [
        ("frozen", "run_ours", {"bf16"}),
        ("detection", "run_ours", {"bf16"}),
        ("detection", "run_reference", set()),
    ],
)
def test_our_ways_run(images, case, run, tells):
    found = getattr(peers, run)(peers.build_spec(case, asked(images), images))
    assert found["seconds"] > 0
    assert set(found) == {"seconds", "accuracy", *tells}
