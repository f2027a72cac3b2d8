"""Small backbones through plan and training under each freeze policy, against a loop written by hand."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.stages.context import RunContext
from transferflow.stages.plan.compile import compile_plan
from transferflow.stages.plan.epoch_rates import epoch_rates
from transferflow.stages.train.settings import optimizer_settings
from transferflow.stages.train.training_plan import compile_training_plan
from transferflow.tasks.build import build_parts
from transferflow.training.job import LoopSettings, TrainJob
from transferflow.training.loop.build import arithmetic_of
from transferflow.training.loop.run import train

pytestmark = pytest.mark.slow

SIZE, STEPS, LR, DECAY = 64, 2, 1e-3, 0.1
SETTINGS = LoopSettings(
    epochs=1,
    seed=0,
    precision="fp32",
    device="cpu",
    metric="value",
    lower_is_better=True,
    patience=None,
    ema=None,
    gradient_clip=None,
)
BACKBONES = [
    ("torchvision", "resnet18"),
    ("timm", "test_vit"),
    ("timm", "test_convnext"),
    ("timm", "mobilenetv3_small_050"),
    ("timm", "deit_tiny_distilled_patch16_224"),
    ("timm", "pvt_v2_b0"),
    ("timm", "xcit_nano_12_p16_224"),
    ("timm", "ghostnet_050"),
]


def plain_model(library: str, name: str) -> nn.Module:
    """The library's own model without classifier, its running statistics away from where they start."""
    if library == "torchvision":
        model = getattr(torchvision.models, name)(weights=None)
        model.fc = nn.Identity()
    else:
        config = timm.get_pretrained_cfg(name)
        sized = {"img_size": SIZE} if config is not None and config.fixed_input_size else {}
        model = timm.create_model(name, num_classes=0, **sized)
    for buffer_name, buffer in model.named_buffers():
        if buffer_name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif buffer_name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model


@dataclass(frozen=True)
class RandomImages:
    """Two steps an epoch, the same in each run."""

    layout: torch.memory_format = torch.contiguous_format

    def __len__(self) -> int:
        return STEPS

    def epoch(self, number: int, first: int = 0) -> list[Batch]:
        generator = torch.Generator().manual_seed(number + 5)
        targets, ids = torch.tensor([0, 1, 2]), ("a", "b", "c")
        images = [torch.randn(3, 3, SIZE, SIZE, generator=generator) for _ in range(STEPS)]
        return [Batch(image.contiguous(memory_format=self.layout), targets, ids) for image in images][first:]


def policies(names: list[str]) -> list[tuple[dict[str, Any], dict[str, Any], list[set[str]], list[float]]]:
    """Freeze section, optimizer section; per epoch the groups that are frozen, and the phase's scale."""
    middle, last = names[len(names) // 2], names[-1]
    scaled = {"lr": LR, "weight_decay": DECAY}
    phases = [
        {"epochs": 1, "train": ["head"]},
        {"epochs": 1, "train": [last, "head"], "lr_scale": 0.3},
    ]
    return [
        ({"policy": "none"}, scaled, [set()], [1.0]),
        ({"policy": "backbone"}, scaled, [set(names)], [1.0]),
        (
            {"policy": "until", "until": middle},
            {**scaled, "backbone_lr_scale": 0.1},
            [set(names[: names.index(middle) + 1])],
            [1.0],
        ),
        (
            {"policy": "layers", "layers": [names[0], last]},
            {**scaled, "layer_lr": {names[1]: 2e-4}},
            [{names[0], last}],
            [1.0],
        ),
        ({"policy": "phases", "phases": phases}, scaled, [set(names), set(names) - {last}], [1.0, 0.3]),
    ]


def expected_rate(group: str, optimizer: dict[str, Any]) -> float:
    if group in optimizer.get("layer_lr", {}):
        return float(optimizer["layer_lr"][group])
    return LR if group == "head" else LR * optimizer.get("backbone_lr_scale", 1.0)


@pytest.mark.parametrize(("library", "name"), BACKBONES)
def test_a_backbone_trains_as_it_is_said_to(library, name, build_spec, tmp_path):
    torch.manual_seed(1)
    start = plain_model(library, name)
    torch.save(start.state_dict(), tmp_path / "start.pth")
    backbone = {"source": "checkpoint", "library": library, "name": name, "weights": f"{tmp_path}/start.pth"}
    data = build_spec().data.model_dump(mode="json") | {"image_size": SIZE}
    context = RunContext(tmp_path / "home")
    rows = compile_plan(build_spec(backbone=backbone, data=data), context).training.rows
    names = [row.group for row in rows[:-1]]
    assert rows[-1].group == "head"
    assert sum(row.parameters for row in rows[:-1]) == sum(p.numel() for p in start.parameters())
    for number, (freeze, optimizer, frozen, scales) in enumerate(policies(names)):
        training = {"epochs": len(frozen), "batch_size": 3, "workers": 0, "device": "cpu"}
        spec = build_spec(backbone=backbone, data=data, freeze=freeze, optimizer=optimizer, training=training)
        parts = build_parts(spec, ("a", "b", "c"), pretrained=True)
        plan, planned = compile_training_plan(spec, parts), compile_plan(spec, context)
        assert plan.rows == planned.training.rows  # the meta device tells the truth
        cells = [(row.epoch, row.block) for row in epoch_rates(planned)]
        assert len(set(cells)) == len(cells)
        group_of = {n: group.name for group in parts.groups for n in group.parameters}
        by_path = {n: best_prefix(n.removeprefix("backbone.model."), names) for n in group_of}
        assert all(group_of[n] == path for n, path in by_path.items() if path)
        rates = {n: (r.lr, r.weight_decay) for r in plan.rates for n in r.parameters}
        rates |= {n: (r.lr, 0.0) for r in plan.rates for n in r.no_decay}
        for n, parameter in parts.model.named_parameters():
            assert rates[n][0] == pytest.approx(expected_rate(group_of[n], optimizer)), n
            assert rates[n][1] in ({0.0} if parameter.ndim <= 1 else {DECAY, 0.0}), n
        draws: list[torch.Tensor] = []
        job = TrainJob(
            model=parts.model,
            groups=parts.groups,
            rates=plan.rates,
            freeze=plan.freeze,
            train_loader=RandomImages(),
            losses=recorded_loss(draws),
            validate=falling_value(),
            optimizer=optimizer_settings(spec),
            settings=replace(SETTINGS, epochs=len(frozen)),
            folder=tmp_path / f"run{number}",
        )
        twin = copy.deepcopy(parts.model)
        result = train(job)
        by_hand(twin, job, group_of, rates, frozen, scales, draws)
        assert all(proof.holds for proof in result.proofs)
        for key, value in twin.state_dict().items():
            assert torch.equal(parts.model.state_dict()[key], value), (freeze["policy"], key)


def best_prefix(parameter: str, names: list[str]) -> str:
    return max((n for n in names if parameter == n or parameter.startswith(f"{n}.")), key=len, default="")


def falling_value() -> Any:
    values = iter(range(10, 0, -1))
    return lambda model: {"value": float(next(values))}


def cross_entropy(model: nn.Module, batch: Batch) -> torch.Tensor:
    return F.cross_entropy(model(batch.images), batch.targets)


def recorded_loss(draws: list[torch.Tensor]) -> Any:
    """The loss; notes the random state of each step, which dropout goes by."""

    def losses(model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        draws.append(torch.random.get_rng_state())
        return {"loss": cross_entropy(model, batch)}

    return losses


def by_hand(
    model: nn.Module,
    job: TrainJob,
    group_of: dict[str, str],
    rates: dict[str, tuple[float, float]],
    frozen: list[set[str]],
    scales: list[float],
    draws: list[torch.Tensor],
) -> None:
    """A plain loop: what is frozen is in eval mode and has no gradient, all else is AdamW under a cosine."""
    layout = arithmetic_of(job.settings, torch.device("cpu")).memory_format
    model.to(memory_format=layout)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p], "lr": rates[n][0], "base": rates[n][0], "weight_decay": rates[n][1]}
            for n, p in model.named_parameters()
        ],
        fused=True,
    )
    total, step = STEPS * len(frozen), 0
    for epoch, still in enumerate(frozen):
        model.train()
        for n, parameter in model.named_parameters():
            parameter.requires_grad_(group_of[n] not in still)
        for module in model.modules():
            inside = list(module.parameters())
            if inside and not any(parameter.requires_grad for parameter in inside):
                module.eval()
        for batch in RandomImages(layout).epoch(epoch):
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * scales[epoch] * (1 + math.cos(math.pi * step / total)) / 2
            torch.random.set_rng_state(draws[step])
            cross_entropy(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
