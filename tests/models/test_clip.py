"""On a tiny random CLIP, in the files that open_clip and timm read, in the hub's cache folder."""

from __future__ import annotations

import json

import huggingface_hub.constants
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from timm.layers import QuickGELU
from torch import nn

from transferflow.errors import PlanError, WeightsError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.classifier import ImageClassifier
from transferflow.models.clip import (
    build_zero_shot,
    load_text_classifier,
    set_text_embeddings,
)
from transferflow.models.clip_text import clip_choice, embed_classes, load_text_tower
from transferflow.models.spec_weights import files_of
from transferflow.spec import ExperimentSpec

open_clip = pytest.importorskip("open_clip")

CLASSES = ("cat", "dog", "sea {urchin}")
PROMPTS = ("a photo of a {}.", "a drawing of a {}.")
NAME, TAG = "vit_xsmall_patch16_clip_224", "tinyclip_yfcc15m"
CONFIG = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 224, "layers": 10, "width": 256, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(5)
    model = open_clip.CLIP(**CONFIG).eval()
    with torch.no_grad():
        model.visual.proj.normal_()
        model.logit_scale.fill_(3.0)
    return model


@pytest.fixture
def backbone_section(clip, section, tmp_path, monkeypatch):
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    repository = cache / f"models--timm--{NAME}.{TAG}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    state = {key: value.contiguous() for key, value in clip.state_dict().items()}
    save_file(state, snapshot / "open_clip_model.safetensors")
    visual = {key: value for key, value in state.items() if key.startswith("visual.")}
    save_file(visual, snapshot / "model.safetensors")
    (snapshot / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    return section(source="timm", name=NAME, weights=TAG)


@pytest.fixture
def backbone(backbone_section):
    return build_backbone(backbone_section, channels=3, image_size=None, offline=True).eval()


def wanted_text(clip):
    tokenize = open_clip.get_tokenizer("ViT-B-32")
    with torch.no_grad():
        each = [
            clip.encode_text(tokenize([p.replace("{}", name) for p in PROMPTS]), normalize=True)
            for name in CLASSES
        ]
    return F.normalize(torch.stack([vectors.mean(0) for vectors in each]), dim=-1)


def test_zero_shot_logits_equal_open_clips(clip, backbone_section, backbone, check_groups):
    model = build_zero_shot(backbone_section, backbone, CLASSES, PROMPTS, offline=True).eval()
    images = torch.randn(4, 3, 224, 224)
    with torch.no_grad():
        image = clip.encode_image(images, normalize=True)
        wanted = clip.logit_scale.exp() * image @ wanted_text(clip).T
        assert torch.allclose(model(images), wanted, atol=1e-4)
    assert not list(model.head.parameters())
    check_groups(model)
    assert model.groups[-1].name == "head"


def test_prompts_are_averaged_per_class(clip, backbone_section):
    tower = load_text_tower(backbone_section, offline=True)
    assert tower.scale == pytest.approx(clip.logit_scale.exp().item())
    assert torch.allclose(embed_classes(tower, CLASSES, PROMPTS), wanted_text(clip), atol=1e-6)


def test_a_zero_shot_model_is_rebuilt_from_its_state(backbone_section, backbone):
    model = build_zero_shot(backbone_section, backbone, CLASSES, PROMPTS, offline=True).eval()
    empty = build_backbone(backbone_section, channels=3, image_size=None, pretrained=False)
    again = build_zero_shot(backbone_section, empty, CLASSES, PROMPTS, pretrained=False).eval()
    again.load_state_dict(model.state_dict(), strict=True)
    images = torch.randn(2, 3, 224, 224)
    assert torch.equal(again(images), model(images))


def test_a_plan_needs_no_files(section):
    spec = section(source="timm", name="vit_base_patch16_clip_quickgelu_224", weights="openai")
    backbone = build_backbone(spec, channels=3, image_size=None, pretrained=False, device="meta")
    model = build_zero_shot(spec, backbone, CLASSES, PROMPTS, pretrained=False)
    assert model(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 3)


def test_a_linear_head_starts_close_to_zero_shot(backbone_section, backbone):
    known = load_text_classifier(backbone_section, backbone, CLASSES, PROMPTS, offline=True)
    zero_shot = build_zero_shot(backbone_section, backbone, CLASSES, PROMPTS, offline=True).eval()
    images = torch.randn(8, 3, 224, 224)
    with torch.no_grad():
        model = ImageClassifier(backbone, 3, init="text").eval()
        set_text_embeddings(model.head, known, backbone(images))
        wanted = zero_shot(images)
        assert torch.allclose(model(images), wanted, rtol=0.3, atol=0.5)
        assert torch.equal(model(images).argmax(1), wanted.argmax(1))
    with pytest.raises(PlanError, match="without hidden layers"):
        set_text_embeddings(ImageClassifier(backbone, 3, hidden=(8,)).head, known, torch.randn(2, 256))


def test_files_that_do_not_fit_are_refused(backbone_section, backbone, tmp_path):
    (config,) = (tmp_path / "hub").rglob("open_clip_config.json")
    wider = {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "width": 32}}
    config.write_text(json.dumps({"model_cfg": wider}))
    with pytest.raises(WeightsError, match="can't be built from its files"):
        load_text_tower(backbone_section, offline=True)
    (weights,) = (tmp_path / "hub").rglob("open_clip_model.safetensors")
    weights.unlink()
    with pytest.raises(WeightsError, match="text tower"):
        load_text_tower(backbone_section, offline=True)


@pytest.mark.parametrize(
    "values",
    [
        {"source": "timm", "name": "resnet50"},
        {"source": "timm", "name": "vit_base_patch16_clip_224", "weights": "laion2b_ft_in1k"},
        {"source": "timm", "name": "vit_base_patch16_clip_224", "weights": "none"},
        {"source": "torchvision", "name": "resnet50"},
    ],
)
def test_backbones_without_a_text_tower(values, section):
    with pytest.raises(PlanError, match="trained with texts"):
        load_text_tower(section(**values), offline=True)


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("vit_base_patch16_clip_224", "openai"),
        ("vit_base_patch32_clip_224", "metaclip_400m"),
        ("vit_huge_patch14_clip_378", "dfn5b"),
    ],
)
def test_a_model_without_the_activation_of_its_weights_is_refused(name, tag, section):
    other = name.replace("_clip_", "_clip_quickgelu_")
    with pytest.raises(PlanError, match=f"(?s)trained with QuickGELU.*take {other},"):
        clip_choice(section(source="timm", name=name, weights=tag))
    assert clip_choice(section(source="timm", name=other, weights=tag)).name == other


@pytest.mark.parametrize(
    ("name", "tag"),
    [("vit_base_patch16_clip_224", "laion2b"), ("vit_base_patch16_siglip_224", "webli")],
)
def test_weights_of_plain_gelu_are_taken(name, tag, section):
    assert clip_choice(section(source="timm", name=name, weights=tag)).tag == tag


def test_the_towers_description_decides_about_the_activation(backbone_section, backbone, tmp_path):
    """timm says nothing about these weights; with QuickGELU in all places the logits are open_clip's."""
    (config,) = (tmp_path / "hub").rglob("open_clip_config.json")
    quick = {**CONFIG, "quick_gelu": True}
    config.write_text(json.dumps({"model_cfg": quick}))
    with pytest.raises(PlanError, match="trained with QuickGELU"):
        build_zero_shot(backbone_section, backbone, CLASSES, PROMPTS, offline=True)
    for path, module in list(backbone.named_modules()):
        if isinstance(module, nn.GELU):
            backbone.set_submodule(path, QuickGELU())
    model = build_zero_shot(backbone_section, backbone, CLASSES, PROMPTS, offline=True).eval()
    clip = open_clip.CLIP(**quick).eval()
    clip.load_state_dict(load_file(config.with_name("open_clip_model.safetensors")))
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        image = clip.encode_image(images, normalize=True)
        wanted = clip.logit_scale.exp() * image @ wanted_text(clip).T
        assert torch.allclose(model(images), wanted, atol=1e-4)
    config.write_text(json.dumps({"model_cfg": CONFIG}))
    with pytest.raises(PlanError, match="trained with GELU"):
        load_text_classifier(backbone_section, backbone, CLASSES, PROMPTS, offline=True)


@pytest.mark.parametrize(("asked", "forbidden"), [({}, False), ({"offline": True}, True)])
def test_the_text_tower_is_fetched_unless_that_is_forbidden(
    backbone_section, backbone, monkeypatch, asked, forbidden
):
    def stop(section, *, offline):
        raise WeightsError(f"offline: {offline}")

    monkeypatch.setattr("transferflow.models.clip.load_text_tower", stop)
    with pytest.raises(WeightsError, match=f"offline: {forbidden}"):
        load_text_classifier(backbone_section, backbone, CLASSES, PROMPTS, **asked)


def test_a_spec_with_prompts_needs_both_towers():
    spec = ExperimentSpec.model_validate(
        {
            "name": "x",
            "task": {"kind": "classification"},
            "data": {"format": "image_folder", "root": "images"},
            "backbone": {
                "source": "timm",
                "name": "vit_base_patch16_clip_quickgelu_224",
                "weights": "openai",
            },
            "head": {"kind": "zero_shot"},
        }
    )
    assert [file.address.rsplit("/", 1)[-1] for file in files_of(spec)] == [
        *("model.safetensors", "open_clip_config.json", "open_clip_model.safetensors")
    ]
