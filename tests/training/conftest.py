"""Tiny models, loaders and jobs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.models.layers import Block, LayerGroup
from transferflow.spec.sections.freeze import FreezeNone
from transferflow.spec.sections.optimizer import AdamW
from transferflow.training.freezing import compile_freeze
from transferflow.training.job import LoopSettings, OptimizerSettings, TrainJob
from transferflow.training.rates import decide_rates

CLASSES, IMAGES, SIDE, BATCH = 3, 24, 12, 8


def conv_block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Dropout(0.2),
    )


class TinyModel(nn.Module):
    """Three groups with batch norm and dropout, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_block(3, 4)
        self.layer1 = nn.Sequential(conv_block(4, 8), conv_block(8, 8))
        self.layer2 = conv_block(8, 8)
        self.head = nn.Linear(8, CLASSES)
        self.groups = tuple(
            LayerGroup(name, "head" if name == "head" else "backbone", blocks, (name,))
            for name, blocks in (
                ("stem", (self._block("stem"),)),
                ("layer1", (self._block("layer1.0"), self._block("layer1.1"))),
                ("layer2", (self._block("layer2"),)),
                ("head", (self._block("head"),)),
            )
        )

    def _block(self, path: str) -> Block:
        return Block(path, tuple(n for n, _ in self.named_parameters() if n.startswith(f"{path}.")))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer2(self.layer1(self.stem(images))).mean((2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


@dataclass(frozen=True)
class RandomLoader:
    """Images that can be learned; their order is a pure function of (seed, epoch)."""

    seed: int = 0
    images: int = IMAGES
    shuffle: bool = True
    poison: tuple[int, int] | None = None
    """(epoch, step) whose first image is no number."""

    def __len__(self) -> int:
        return self.images // BATCH

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.seed)
        targets = torch.arange(self.images) % CLASSES
        images = torch.randn(self.images, 3, SIDE, SIDE, generator=generator) + targets[:, None, None, None]
        order = torch.randperm(self.images, generator=generator.manual_seed(self.seed + 1000 * number + 1))
        order = order if self.shuffle else torch.arange(self.images)
        for step, rows in list(enumerate(order.split(BATCH)))[first:]:
            picked = images[rows]
            if (number, step) == self.poison:
                picked[0] = torch.nan
            yield Batch(picked, targets[rows], tuple(str(int(row)) for row in rows))


def cross_entropy(model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    return {"cross_entropy": nn.functional.cross_entropy(model(batch.images), batch.targets)}


@torch.no_grad()
def accuracy(model: nn.Module) -> dict[str, float]:
    """Accuracy and loss on images that training has not."""
    right = loss = 0.0
    for batch in RandomLoader(seed=7).epoch(0):
        logits = model(batch.images.to(next(model.parameters()).device))
        right += float((logits.argmax(1) == batch.targets.to(logits.device)).sum())
        loss += float(nn.functional.cross_entropy(logits, batch.targets.to(logits.device))) * len(batch)
    return {"accuracy": right / IMAGES, "val_loss": loss / IMAGES}


@pytest.fixture
def tiny_model() -> TinyModel:
    torch.manual_seed(0)
    return TinyModel()


@pytest.fixture
def random_loader() -> type[RandomLoader]:
    return RandomLoader


JobBuilder = Callable[..., TrainJob]


def compile_job(
    model: nn.Module,
    *,
    folder: Path,
    freeze: Any = None,
    optimizer: Any = None,
    rates_from: Any = None,
    settings: dict[str, Any] | None = None,
    **parts: Any,
) -> TrainJob:
    """Build a tiny job; keyword arguments replace parts, `settings` replaces loop settings."""
    loop: dict[str, Any] = {
        "epochs": 3,
        "seed": 0,
        "precision": "fp32",
        "device": "cpu",
        "metric": "val_loss",
        "lower_is_better": True,
        "patience": None,
        "ema": None,
        "gradient_clip": None,
    } | (settings or {})
    defaults: dict[str, Any] = {
        "train_loader": RandomLoader(),
        "losses": cross_entropy,
        "validate": accuracy,
    }
    return TrainJob(
        model=model,
        groups=model.groups,
        rates=decide_rates(model, model.groups, rates_from or AdamW(lr=0.01), backbone_scale=1.0),
        freeze=compile_freeze(freeze or FreezeNone(policy="none"), model.groups, loop["epochs"]),
        optimizer=optimizer or OptimizerSettings("adamw"),
        settings=LoopSettings(**loop),
        folder=folder,
        **(defaults | parts),
    )


@pytest.fixture(scope="session")
def build_job_in() -> JobBuilder:
    """See `compile_job`; takes a folder, and the model is a `TinyModel` unless given."""

    def build(folder: Path, /, model: nn.Module | None = None, **parts: Any) -> TrainJob:
        torch.manual_seed(0)
        return compile_job(model or TinyModel(), **({"folder": folder} | parts))

    return build


@pytest.fixture
def build_job(build_job_in: JobBuilder, tmp_path: Path) -> JobBuilder:
    """A job with its checkpoints in `tmp_path / "checkpoints"`, unless another folder is given."""
    return functools.partial(build_job_in, tmp_path / "checkpoints")
