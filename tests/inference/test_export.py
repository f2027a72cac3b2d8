"""Exported models in plain onnxruntime and PyTorch, beside the bundle's own model."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from skimage import data as photos

from transferflow.cli.main import main
from transferflow.errors import PlanError, StoreError
from transferflow.inference import export as module
from transferflow.inference.export import export_bundle
from transferflow.tasks.bundle import load_bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def samples(bundles):
    """Four parts of a photo, as every bundle's transform leaves them."""
    photo = photos.astronaut()
    transform = load_bundle(bundles["regression"]).transform
    parts = [photo[y : y + 150, x : x + 200] for x, y in ((0, 0), (150, 30), (200, 200), (300, 300))]
    return np.stack([transform.fit(transform.resize_image(part)) for part in parts])


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_onnx_answers_as_the_model_does_for_any_number_of_images(bundles, samples, tmp_path, task):
    bundle = load_bundle(bundles[task])
    normalise = task == "classification"
    done = export_bundle(bundle, samples, tmp_path / "m.onnx", "onnx", normalise=normalise)
    assert done.any_batch
    assert max(done.differences.values()) < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    normal = bundle.transform.normalize(torch.from_numpy(samples))
    with torch.inference_mode():
        raw = bundle.model(normal)
        expected = (raw.softmax(1) if normalise else raw["out"]).numpy()
    for count in (1, 3, 4):
        given = samples[:count] if normalise else normal[:count].numpy()
        (found,) = session.run(None, {"images": given})
        np.testing.assert_allclose(found, expected[:count], atol=1e-4)
    described = json.loads(session.get_modelmeta().custom_metadata_map["transferflow"])
    assert described["classes"] == list(bundle.classes)
    assert described["input"]["shape"] == ("N x 64 x 64 x 3" if normalise else "N x 3 x 64 x 64")
    assert any("mean" in step for step in described["preprocessing"]) is not normalise
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_detector_answers_one_image_at_a_time(bundles, samples, tmp_path):
    bundle = load_bundle(bundles["detection"])
    done = export_bundle(bundle, samples, tmp_path / "d.onnx", "onnx")
    assert not done.any_batch
    assert done.boxes > 0
    onnx.checker.check_model(onnx.load(tmp_path / "d.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "d.onnx")
    normal = bundle.transform.normalize(torch.from_numpy(samples))
    for image in normal:
        with torch.inference_mode():
            (expected,) = bundle.model([image])
        found = session.run(["boxes", "scores", "labels"], {"images": image[None].numpy()})
        for name, ours in zip(("boxes", "scores", "labels"), found, strict=True):
            np.testing.assert_allclose(ours, expected[name].numpy(), atol=1e-3)
    with pytest.raises(PlanError, match=r"torch\.export can't follow a detector"):
        export_bundle(bundle, samples, tmp_path / "d.pt2", "torch_export")


def test_torch_export_answers_as_the_model_does(bundles, samples, tmp_path):
    bundle = load_bundle(bundles["regression"])
    export_bundle(bundle, samples, tmp_path / "r.pt2", "torch_export")
    extra = {"transferflow": ""}
    program = torch.export.load(tmp_path / "r.pt2", extra_files=extra).module()
    normal = bundle.transform.normalize(torch.from_numpy(samples))
    with torch.inference_mode():
        torch.testing.assert_close(program(normal[:3]), bundle.model(normal[:3]), atol=1e-4, rtol=0)
    assert json.loads(extra["transferflow"])["task"] == "regression"


def test_a_model_that_answers_otherwise_is_thrown_away(bundles, samples, tmp_path, monkeypatch):
    bundle = load_bundle(bundles["regression"])
    (tmp_path / "r.pt2").write_text("the former one")
    monkeypatch.setattr(module, "_write", lambda *a, **_: None)
    monkeypatch.setattr(
        module, "_runner", lambda *a, **_: lambda x: [bundle.model(x).detach().numpy() + 0.01]
    )
    with pytest.raises(StoreError, match="does not answer as PyTorch does") as caught:
        export_bundle(bundle, samples, tmp_path / "r.pt2", "torch_export")
    assert "a difference of 0.01 on 4 images" in str(caught.value)
    assert (tmp_path / "r.pt2").read_text() == "the former one"


def test_the_command_compares_on_the_test_images(two_runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    context, (first, _) = two_runs
    home = ["--home", str(context.home)]
    assert main(["export", "colours/1", "--format", "torch_export", "--json", *home]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["path"], said["images"]) == ("colours.pt2", first[0].summary["images"]["test"])
    assert main(["export", str(first[1].folder), *home]) == 1
    assert "name real images with --images" in capsys.readouterr().err
    assert main(["export", "colours", "--format", "tflite", *home]) == 2
