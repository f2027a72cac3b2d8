"""CLIP through the whole path, on a tiny random CLIP in the hub's cache folder."""

import json

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file

from transferflow.stages.context import RunContext
from transferflow.stages.plan.compile import compile_plan
from transferflow.stages.run import run_plan

open_clip = pytest.importorskip("open_clip")
pytestmark = pytest.mark.slow

NAME, TAG = "vit_xsmall_patch16_clip_224", "tinyclip_yfcc15m"
CONFIG = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 224, "layers": 10, "width": 256, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
BACKBONE = {"source": "timm", "name": NAME, "weights": TAG}


@pytest.fixture
def clip_in_cache(tmp_path, monkeypatch):
    torch.manual_seed(5)
    state = {key: value.contiguous() for key, value in open_clip.CLIP(**CONFIG).state_dict().items()}
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    repository = cache / f"models--timm--{NAME}.{TAG}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    save_file(state, snapshot / "open_clip_model.safetensors")
    visual = {key: value for key, value in state.items() if key.startswith("visual.")}
    save_file(visual, snapshot / "model.safetensors")
    (snapshot / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))


def _data(colour_folder):
    return {"format": "image_folder", "root": str(colour_folder), "image_size": 64}


@pytest.mark.usefixtures("clip_in_cache")
def test_zero_shot_classifies_without_training(build_spec, tmp_path, colour_folder):
    head = {"kind": "zero_shot", "prompts": ["a photo of something {}."]}
    spec = build_spec(backbone=BACKBONE, head=head, data=_data(colour_folder), optimizer={}, training={})
    context = RunContext(tmp_path / "home")
    plan = compile_plan(spec, context)
    assert not any(any(row.trains) for row in plan.training.rows)
    outcomes = run_plan(spec, context)
    assert outcomes[1].summary["epochs"] == 1
    assert 0 <= outcomes[2].summary["metrics"]["accuracy"]["value"] <= 1
    assert all(o.reused for o in run_plan(spec, context))


@pytest.mark.usefixtures("clip_in_cache")
def test_linear_head_starts_at_the_text(build_spec, tmp_path, colour_folder):
    spec = build_spec(
        backbone=BACKBONE,
        head={"init": "text", "prompts": ["a photo of something {}."]},
        freeze={"policy": "backbone"},
        data=_data(colour_folder),
        training={"epochs": 1, "batch_size": 12, "workers": 0},
    )
    outcomes = run_plan(spec, RunContext(tmp_path / "home"))
    assert outcomes[1].summary["frozen_tensors_unchanged"]
