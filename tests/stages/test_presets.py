"""The guide's five rows, as presets, against the same models built by hand with torchvision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import EfficientNet_B0_Weights, ResNet50_Weights, efficientnet_b0, resnet50
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_V2_Weights, fasterrcnn_resnet50_fpn_v2
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights, deeplabv3_resnet50

from transferflow.models.segmentation.heads import FixedBatchNorm2d
from transferflow.spec.load import load_spec
from transferflow.stages.split_images import eval_transform_of
from transferflow.stages.train.settings import optimizer_settings
from transferflow.stages.train.training_plan import compile_training_plan
from transferflow.store import file_digest
from transferflow.tasks.build import build_parts
from transferflow.training.freezing import apply_freeze
from transferflow.training.optimizer import build_optimizer

pytestmark = pytest.mark.slow

CLASSES = ("a", "b", "c")
SEED = 5
Loss = Callable[[nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class ByHand:
    """A model that was built with torchvision alone.

    Attributes:
        model: In train mode, its frozen part in eval mode and without gradients.
        rates: Learning rate by the start of a parameter's name; what has none is frozen.
        renamed: Start of our parameter's name to that of theirs.
    """

    model: nn.Module
    rates: Mapping[str, float]
    renamed: Mapping[str, str]


def random_state(model: nn.Module) -> dict[str, Tensor]:
    """Weights and running statistics that no constructor gives."""
    torch.manual_seed(11)
    return {
        name: torch.rand_like(value) / 4 + 0.5
        if name.endswith(("running_var", "running_mean")) or (value.ndim == 1 and value.is_floating_point())
        else torch.randn_like(value) / 50
        if value.is_floating_point()
        else value + 7
        for name, value in model.state_dict().items()
    }


def freeze(*modules: nn.Module) -> None:
    for module in modules:
        module.eval().requires_grad_(False)


def new_linear(width: int, dropout: float) -> nn.Sequential:
    torch.manual_seed(SEED)
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, len(CLASSES)))


def medical(state: Mapping[str, Tensor], channels: int = 1) -> ByHand:
    model = resnet50(weights=None)
    model.load_state_dict(state)
    first = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    with torch.no_grad():
        first.weight.copy_(model.conv1.weight.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1))
    model.conv1 = first
    model.fc = new_linear(2048, 0.5)
    model.train()
    freeze(model.layer1, model.layer2)
    rates = {"conv1": 1e-5, "bn1": 1e-5, "layer3": 1e-4, "layer4": 3e-4, "fc": 1e-3}
    return ByHand(model, rates, {"backbone.model.": "", "head.classifier.": "fc.1."})


def small_data(state: Mapping[str, Tensor]) -> ByHand:
    model = efficientnet_b0(weights=None)
    model.load_state_dict(state)
    model.classifier = new_linear(1280, 0.2)
    model.train()
    freeze(model.features)
    return ByHand(model, {"classifier": 1e-3}, {"backbone.model.": "", "head.classifier.": "classifier.1."})


def large_data(state: Mapping[str, Tensor]) -> ByHand:
    model = resnet50(weights=None)
    model.load_state_dict(state)
    torch.manual_seed(SEED)
    model.fc = nn.Linear(2048, len(CLASSES))
    return ByHand(model.train(), {"": 3e-4}, {"backbone.model.": "", "head.classifier.": "fc."})


def detection(state: Mapping[str, Tensor]) -> ByHand:
    torch.manual_seed(SEED)
    model = fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None)
    model.load_state_dict(state)
    model.roi_heads.box_predictor = FastRCNNPredictor(1024, len(CLASSES) + 1)
    # What the project gives is normalised and of one size already.
    model.transform.min_size, model.transform.max_size = (64,), 64
    model.transform.image_mean, model.transform.image_std = [0.0] * 3, [1.0] * 3
    return ByHand(model.train(), {"backbone.body": 2e-5, "": 2e-4}, {"": ""})


def segmentation(state: Mapping[str, Tensor]) -> ByHand:
    torch.manual_seed(SEED)
    model = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
    model.load_state_dict(state)
    pooling = FixedBatchNorm2d(256)  # the one difference: statistics that hold at small batches
    pooling.load_state_dict(model.classifier[0].convs[4][2].state_dict())
    model.classifier[0].convs[4][2] = pooling
    model.classifier[4] = nn.Conv2d(256, len(CLASSES), 1)
    model.aux_classifier[4] = nn.Conv2d(256, len(CLASSES), 1)
    model.train()
    freeze(model.backbone)
    return ByHand(model, {"classifier": 5e-4, "aux_classifier": 5e-4}, {"": ""})


def smoothed(amount: float) -> Loss:
    targets = torch.tensor([0, 2])
    return lambda model, images: F.cross_entropy(model(images), targets, label_smoothing=amount)


def boxes(model: nn.Module, images: Tensor) -> Tensor:
    targets = [{"boxes": torch.tensor([[8.0, 8, 40, 50]]), "labels": torch.tensor([2])}] * 2
    return sum(model(list(images), targets).values())


def pixels(model: nn.Module, images: Tensor) -> Tensor:
    logits = model(images)
    targets = torch.arange(64) % len(CLASSES)
    return sum(F.cross_entropy(value, targets.expand(2, 64, 64)) for value in logits.values())


BARE = {"weights": None, "weights_backbone": None}
ROWS: Mapping[str, tuple[Callable[[], nn.Module], Any, Callable[..., ByHand], Loss]] = {
    "medical": (resnet50, ResNet50_Weights.IMAGENET1K_V2, medical, smoothed(0.0)),
    "small-data": (efficientnet_b0, EfficientNet_B0_Weights.IMAGENET1K_V1, small_data, smoothed(0.0)),
    "large-data": (resnet50, ResNet50_Weights.IMAGENET1K_V2, large_data, smoothed(0.1)),
    "detection": (
        lambda: fasterrcnn_resnet50_fpn_v2(**BARE),
        FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
        detection,
        boxes,
    ),
    "segmentation": (
        lambda: deeplabv3_resnet50(**BARE, aux_loss=True),
        DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1,
        segmentation,
        pixels,
    ),
}


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Put weights where torchvision keeps its downloads, under a name with their hash."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def put(weights: Any, state: Mapping[str, Tensor]) -> None:
        folder = tmp_path / "torch" / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        draft = folder / "draft.pth"
        torch.save(dict(state), draft)
        path = draft.rename(folder / f"published-{file_digest(draft)[:8]}.pth")
        monkeypatch.setattr(weights.value, "url", f"https://models.invalid/{path.name}")

    return put


def preset_spec(folder: Path, preset: str, data: str = "") -> Any:
    kind = {"detection": "coco, annotations: a.json", "segmentation": "mask_folder"}
    path = folder / "spec.yaml"
    path.write_text(
        f"name: row\nextends: preset:{preset}\ndata: {{format: {kind.get(preset, 'image_folder')}, "
        f"root: images, image_size: 64{data}}}\ntraining: {{seed: {SEED}}}\n"
    )
    return load_spec(path)


def their_name(name: str, renamed: Mapping[str, str]) -> str:
    start = next(old for old in renamed if name.startswith(old))
    return renamed[start] + name.removeprefix(start)


def their_rate(name: str, rates: Mapping[str, float]) -> float | None:
    return next((rate for start, rate in rates.items() if name.startswith(start)), None)


@pytest.mark.parametrize(("preset", "channels"), [*((name, None) for name in ROWS), ("medical", 4)])
def test_a_preset_is_the_model_built_by_hand(preset, channels, tmp_path, publish):
    build, weights, by_hand, loss = ROWS[preset]
    state = random_state(build())
    publish(weights, state)
    spec = preset_spec(tmp_path, preset, f", channels: {channels}" if channels else "")
    theirs = by_hand(state, channels) if channels else by_hand(state)
    parts = build_parts(spec, CLASSES, pretrained=True)
    plan = compile_training_plan(spec, parts)
    optimizer = build_optimizer(parts.model, plan.rates, optimizer_settings(spec))
    apply_freeze(parts.model.train(), parts.groups, plan.freeze.at(0), plan.freeze.batch_norm)

    compare_states(parts.model, theirs)
    compare_training(parts.model, optimizer, theirs)
    images = torch.rand(2, spec.data.channels, 64, 64, generator=torch.Generator().manual_seed(3))
    assert take_step(parts.model, optimizer, loss, images) == take_step(
        theirs.model, plain_adamw(theirs), loss, images
    )
    compare_states(parts.model, theirs)


def compare_states(model: nn.Module, theirs: ByHand) -> None:
    """The same names, and bit for bit the same parameters and buffers."""
    ours = {their_name(name, theirs.renamed): value for name, value in model.state_dict().items()}
    expected = theirs.model.state_dict()
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(ours[name], value), name


def compare_training(model: nn.Module, optimizer: torch.optim.Optimizer, theirs: ByHand) -> None:
    """What trains, in which mode, at which rate and decay."""
    settings = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    expected = dict(theirs.model.named_parameters())
    for name, parameter in model.named_parameters():
        other = their_name(name, theirs.renamed)
        rate = their_rate(other, theirs.rates)
        assert parameter.requires_grad == expected[other].requires_grad == (rate is not None), other
        group = settings[id(parameter)]
        if rate is not None:
            assert group["lr"] == pytest.approx(rate), other
        assert group["weight_decay"] == (0.05 if parameter.ndim > 1 else 0.0), other
    for name in model.state_dict():
        ours, other = owner(model, name), owner(theirs.model, their_name(name, theirs.renamed))
        assert ours.training == other.training, name


def owner(model: nn.Module, name: str) -> nn.Module:
    """The module that holds a parameter or buffer."""
    return model.get_submodule(name.rpartition(".")[0])


def plain_adamw(theirs: ByHand) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [
            {"params": [p], "lr": rate, "weight_decay": 0.05 if p.ndim > 1 else 0.0}
            for name, p in theirs.model.named_parameters()
            if (rate := their_rate(name, theirs.rates)) is not None
        ],
        fused=True,
    )


def take_step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Loss, images: Tensor) -> float:
    torch.manual_seed(2)
    value = loss(model, images)
    value.backward()
    optimizer.step()
    return value.item()


def test_medical_images_are_normalised_with_the_mean_of_the_colours(tmp_path):
    spec = preset_spec(tmp_path, "medical")
    parts = build_parts(spec, CLASSES, pretrained=False, device="meta")
    transform = eval_transform_of(spec, parts.preprocessing)
    assert transform.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))
    assert transform.std == pytest.approx(((0.229 + 0.224 + 0.225) / 3,))
    assert spec.augmentation.preset == "different_domain"
